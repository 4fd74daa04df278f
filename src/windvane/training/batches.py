"""What a training step sees, as a function of (seed, step): rows, noise, times, dropped conditions, flips.

Everything is drawn for the global batch on every process, which then takes its share, so that any number of
processes and any resume sees the same numbers. Nothing touches torch's global generator.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from windvane.arguments import shown
from windvane.conditions import Condition, for_networks
from windvane.networks.layout import mirrored_rows
from windvane.networks.signals import signal_class
from windvane.noise import Gaussian, NoiseLaw
from windvane.randomness import derive_seeds, generator
from windvane.training.batch import Batch, Items
from windvane.training.dropout import Dropout, check_dropout, draw_drops, drop_condition, drop_signals
from windvane.training.times import TimeSampler

# Far from the streams of sampling, so that a seed used for both gives unrelated numbers.
_STREAM_ORDER, _STREAM_NOISE, _STREAM_TIMES = (1 << 41), (1 << 41) + 1, (1 << 41) + 2
_STREAM_KEYS = (1 << 41) + 5
_GAUSSIAN = Gaussian()


class TrainingData(Protocol):
    """Data with a length and ``batch(indices (B,)) -> float (B, *shape)``, or :class:`Items` with more.

    Training calls ``batch`` from a thread of its own, one call at a time, while a step runs.
    """

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Tensor | Items: ...


class Conditions(Protocol):
    """Conditions with a length and ``index(rows (B,)) -> Condition``: a `Condition`, or made on demand."""

    def __len__(self) -> int: ...

    def index(self, rows: Tensor) -> Condition: ...


class TensorData:
    """A tensor ``(n, *shape)`` as training data."""

    def __init__(self, values: Tensor) -> None:
        if values.ndim < 2 or not values.is_floating_point():
            raise ValueError(
                f"training data must be a float tensor (n, *shape), got {values.dtype} {tuple(values.shape)}"
            )
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def batch(self, indices: Tensor) -> Tensor:
        return self.values[indices].float()


class Rows(NamedTuple):
    """What a step sees but for its times and keys; ``place``: its rows of the global batch."""

    x0: Tensor
    noise: Tensor
    cond: Condition | None
    place: slice
    mask: Tensor | None = None
    extra: Mapping[str, Tensor] = MappingProxyType({})


def share(total: int, part: int, parts: int) -> tuple[int, int]:
    """Begin and end of part number ``part`` of ``total`` rows cut in ``parts`` of nearly equal size."""
    return total * part // parts, total * (part + 1) // parts


def _read(data: TrainingData, indices: Tensor, shape: tuple[int, ...] | None = None) -> Items:
    """Rows of the data in float32, whatever their precision.

    Raises:
        ValueError: integers (8-bit pictures are in another range), or rows of another number or shape.
    """
    given = data.batch(indices)
    items = given if isinstance(given, Items) else Items(given)
    x0 = items.x
    if not isinstance(x0, Tensor) or not x0.is_floating_point():
        kind = f" and {x0.dtype}" if isinstance(x0, Tensor) else ""
        raise ValueError(
            f"the data's batch() must give floating point rows (8-bit pictures as x / 127.5 - 1), got "
            f"{shown(x0)}{kind}"
        )
    if len(x0) != len(indices) or (shape is not None and tuple(x0.shape[1:]) != shape):
        wanted = "(*)" if shape is None else shape
        raise ValueError(
            f"the data's batch() gave shape {tuple(x0.shape)} for {len(indices)} rows of shape {wanted}"
        )
    parts = {"mask": items.mask, **items.extra}
    short = [name for name, part in parts.items() if part is not None and len(part) != len(indices)]
    if short:
        raise ValueError(f"the data's batch() gave {short[0]} another number of rows than {len(indices)}")
    return Items(x0.float(), items.mask, items.extra)


class Batches:
    """The batches of a training.

    Rows are taken from one permutation of the data after another, each keyed by (seed, epoch): step k holds
    positions k B to (k + 1) B - 1 of that sequence, so no row is left out and none comes twice in an epoch.

    Args:
        data: the samples; conditions: their signals, row by row, or None.
        batch_size: B, the size of the global batch.
        dropout: probability that a row loses its condition, or one by the name of each signal, see
            :func:`~windvane.training.dropout.drop_signals`; flip: mirror rows (and signals that are maps with
            them) with probability 1/2.
        law: of the noise, the process's own.
    """

    def __init__(
        self,
        data: TrainingData,
        conditions: Conditions | None,
        *,
        batch_size: int,
        seed: int,
        times: TimeSampler,
        dropout: Dropout,
        flip: bool,
        law: NoiseLaw = _GAUSSIAN,
    ) -> None:
        check_dropout(dropout)
        if len(data) == 0:
            raise ValueError("there is nothing to train on: the data has no samples")
        if conditions is not None and len(conditions) != len(data):
            raise ValueError(f"{len(data)} samples need as many rows of conditions, got {len(conditions)}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.shape = tuple(_read(data, torch.zeros(1, dtype=torch.int64)).x.shape[1:])
        if flip and len(self.shape) != 3:
            raise ValueError(f"flip needs images (C, H, W), but the samples have shape {self.shape}")
        self.data, self.conditions, self.times = data, conditions, times
        self.batch_size, self.seed, self.flip, self.law = batch_size, seed, flip, law
        self.dropout = dict(dropout) if isinstance(dropout, Mapping) else dropout
        self._epoch, self._order = -1, torch.empty(0)

    def _permutation(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            keyed = generator(self.seed, _STREAM_ORDER, epoch)
            self._epoch, self._order = epoch, torch.randperm(len(self.data), generator=keyed)
        return self._order

    def indices(self, step: int) -> Tensor:
        """The rows of the data in the global batch of ``step``, int64 ``(B,)``."""
        n, found, position = len(self.data), [], step * self.batch_size
        end = position + self.batch_size
        while position < end:
            epoch, first = divmod(position, n)
            last = min(first + end - position, n)
            found.append(self._permutation(epoch)[first:last])
            position += last - first
        return found[0] if len(found) == 1 else torch.cat(found)

    def load(self, step: int, begin: int = 0, end: int | None = None) -> Batch:
        """Rows begin..end-1 of the global batch of ``step``. Draws times: call it once a step, in order."""
        return self.timed(step, self.rows(step, begin, end))

    def rows(self, step: int, begin: int = 0, end: int | None = None) -> Rows:
        """Rows begin..end-1 of the global batch of ``step`` without their times: a function of the step."""
        rows = slice(begin, end)
        size, keyed = self.batch_size, generator(self.seed, _STREAM_NOISE, step)
        drops, flips = (
            draw_drops(size, self.dropout, keyed)[rows],
            torch.rand(size, generator=keyed, dtype=torch.float32)[rows],
        )
        normal = torch.randn((size, math.prod(self.shape)), generator=keyed, dtype=torch.float32)
        noise = self.law.scaled(normal, self.seed, _STREAM_NOISE, step)[rows].reshape(-1, *self.shape)
        indices = self.indices(step)[rows]
        x0, mask, extra = (read := _read(self.data, indices, self.shape)).x, read.mask, read.extra
        cond = None if self.conditions is None else self.conditions.index(indices)
        if self.flip:
            mirrored = flips < 0.5
            x0, cond = mirrored_rows(x0, mirrored), _mirrored(cond, mirrored)
            mask = None if mask is None else mirrored_rows(mask.expand_as(x0), mirrored)
        if cond is not None and isinstance(self.dropout, dict):
            cond = drop_signals(cond, self.dropout, seed=self.seed, step=step, size=size, rows=rows)
        return Rows(x0, noise, drop_condition(cond, drops), rows, mask, extra)

    def timed(self, step: int, drawn: Rows) -> Batch:
        """The rows with the times of ``step``, which may depend on what the sampler has observed so far."""
        t = self.times.draw(self.batch_size, generator(self.seed, _STREAM_TIMES, step))[drawn.place]
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)[drawn.place]
        keys = torch.from_numpy(derive_seeds(self.seed, _STREAM_KEYS, places))
        return Batch(drawn.x0, drawn.noise, t, drawn.cond, keys=keys, mask=drawn.mask, extra=drawn.extra)


def _mirrored(cond: Condition | None, rows: Tensor) -> Condition | None:
    if cond is None:
        return None
    signals = {
        name: signal_class(name).mirrored(value, rows) if for_networks(name) else value
        for name, value in cond.signals.items()
    }
    return Condition(signals, cond.present)
