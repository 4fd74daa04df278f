"""Targets of energies, noisy references, and how an energy looks at x with a network."""

import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from windvane.arguments import called, flag, numbers, shown, whole
from windvane.conditions import Condition
from windvane.process import Process, as_process, shared_moment
from windvane.randomness import derive_seed


def as_target(target: Any, name: str) -> Any:
    """Rows of a target as a tensor, or the name of a signal; arrays and rows of numbers become tensors.

    Raises:
        ValueError: anything else, or 8-bit numbers: they are in another range than the data.
    """
    if isinstance(target, str):
        return target
    what = f"the target of the energy {name!r}"
    found = target if isinstance(target, Tensor) else numbers(target, what)
    if found.dtype in (torch.uint8, torch.bool) or found.is_complex() or found.ndim == 0:
        raise ValueError(
            f"{what} is {shown(found)} and {found.dtype}; give floating point "
            "rows (1, *) or (B, *), in the data's range (8-bit pictures as x / 127.5 - 1)"
        )
    return found


def rows_of(target: Tensor | str, x: Tensor, cond: Condition | None, name: str) -> Tensor:
    """The target's rows, 1 or B, on x's device.

    Args:
        target: rows that hold for the whole batch (1) or for each sample (B); or the name of the
            condition's signal that carries them, which also works where samples are drawn in batches.
    """
    if isinstance(target, str):
        if cond is None or target not in cond.signals:
            known = [] if cond is None else sorted(cond.signals)
            raise ValueError(
                f"the energy {name!r} takes its target from the condition's signal {target!r}; "
                f"signals there: {known}. Pass cond=Condition({{{target!r}: rows}}) to sample()."
            )
        target = cond.signals[target]
    if len(target) not in (1, len(x)):
        raise ValueError(
            f"the energy {name!r} has {len(target)} target rows for {len(x)} samples: give 1, or one each; "
            "with batch_size the rows must travel in a signal of the condition, so name the signal instead"
        )
    return target.to(x.device)


def time_noise(seed: int, t: Tensor, shape: torch.Size, stream: int = 0) -> Tensor:
    """Standard normal noise ``(B, *shape)`` on the CPU that depends on the seed, t and the stream alone.

    Rows at the same time have the same noise, whatever batch they are in.
    """
    moment = shared_moment(t)
    if moment is not None:
        return _noise_at(seed, moment, shape, stream).expand(t.numel(), *shape)
    drawn: dict[float, Tensor] = {}
    for time in t.tolist():
        if time not in drawn:
            drawn[time] = _noise_at(seed, time, shape, stream)
    return torch.cat([drawn[time] for time in t.tolist()])


def _noise_at(seed: int, time: float, shape: torch.Size, stream: int) -> Tensor:
    """One row of noise ``(1, *shape)``, by the generator that is quickest to set up for a single row."""
    bits = int.from_bytes(struct.pack("<d", time), "little")
    keyed = np.random.Generator(np.random.Philox(key=derive_seed(seed, bits, stream)))
    return torch.from_numpy(keyed.standard_normal((1, *shape), dtype=np.float32))


class Reference:
    """A reference image noised to the step's level: y_t = alpha_t y + sigma_t eps (SDG, section 2.2).

    The noise is new at every time and the same for every row: it depends on ``seed`` and t alone, so
    that a sample does not depend on its neighbours. At t = 0 the reference is clean.

    Args:
        image: ``(1, *)``, ``(B, *)``, or the name of a condition's signal.
        process: the denoiser's process.
        fresh: whether each time has noise of its own; otherwise one draw serves the whole run, which has
            less variance but lets a layout-keeping energy copy that draw's pattern.
    """

    def __init__(self, image: Tensor | str, process: Process, *, seed: int = 0, fresh: bool = True) -> None:
        self.image, self.process = as_target(image, "reference"), as_process(process)
        self.seed, self.fresh = whole(seed, "the seed of a reference"), flag(fresh, "fresh")

    def at(self, x: Tensor, t: Tensor, cond: Condition | None, name: str) -> Tensor:
        """y_t with B rows."""
        rows = rows_of(self.image, x, cond, name).to(x.dtype)
        rows = rows.expand(len(x), *rows.shape[1:])
        noise = time_noise(self.seed, t if self.fresh else torch.zeros_like(t), rows.shape[1:])
        return self.process.perturb(rows, t, noise.to(rows))


class Eye:
    """How an energy looks at x: a function or network, given t or not, after preprocessing.

    Args:
        look: ``look(x)``, or ``look(x, t)`` if ``timed``.
        timed: whether it is noise-aware.
        preprocess: applied to x first: data in [-1, 1] to what the network was trained on.
    """

    def __init__(
        self, look: Callable[..., Any], *, timed: bool, preprocess: Callable[[Tensor], Tensor] | None
    ) -> None:
        self.look = called(look, "what an energy looks with", "of a batch, (B, *) -> values of B rows")
        self.timed, self.preprocess = flag(timed, "timed"), preprocess
        if preprocess is not None:
            called(preprocess, "preprocess", "of a batch")

    def __call__(self, x: Tensor, t: Tensor, name: str) -> Any:
        if isinstance(self.look, nn.Module):
            _require_evaluation(self.look, name)
        seen = x if self.preprocess is None else self.preprocess(x)
        found = self.look(seen, t) if self.timed else self.look(seen)
        parts = (
            found.values()
            if isinstance(found, Mapping)
            else found
            if isinstance(found, (list, tuple))
            else [found]
        )
        for part in parts:
            # One of another number of rows would be broadcast, or pair rows of different samples.
            if isinstance(part, Tensor) and part.ndim and len(part) != len(x):
                raise ValueError(
                    f"what the energy {name!r} looks with gave shape {tuple(part.shape)} for x of shape "
                    f"{tuple(x.shape)}: it must give one row for each sample"
                )
        return found


def _require_evaluation(module: nn.Module, name: str) -> None:
    """Batch statistics couple the samples of a batch, and dropout makes the energy random."""
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    if any(m.training and isinstance(m, kinds) for m in module.modules()):
        raise ValueError(
            f"the network of the energy {name!r} is in training mode, where samples of a batch see each "
            "other or dropout acts; call .eval() on it first"
        )


class Sight:
    """What an :class:`Eye` sees in a target: cached where target and eye do not change with time."""

    def __init__(self, eye: Eye, target: Tensor | str | Reference) -> None:
        self.eye, self.target = (
            eye,
            target if isinstance(target, Reference) else as_target(target, "reference"),
        )
        self._kept: tuple[torch.device, torch.dtype, Any] | None = None

    @property
    def signals(self) -> frozenset[str]:
        held = self.target.image if isinstance(self.target, Reference) else self.target
        return frozenset({held}) if isinstance(held, str) else frozenset()

    def __call__(self, x: Tensor, t: Tensor, cond: Condition | None, name: str) -> Any:
        """What is seen, with 1 or B rows, and no gradient."""
        with torch.no_grad():
            if isinstance(self.target, Reference):
                return self.eye(self.target.at(x, t, cond, name), t, name)
            rows = rows_of(self.target, x, cond, name).to(x.dtype)
            if self.eye.timed:
                # A clean target is looked at as what it is.
                return self.eye(rows, torch.zeros(len(rows), dtype=torch.float64), name)
            if isinstance(self.target, str):
                return self.eye(rows, t, name)
            if self._kept is None or self._kept[:2] != (x.device, x.dtype):
                self._kept = (x.device, x.dtype, self.eye(rows, t, name))
            return self._kept[2]
