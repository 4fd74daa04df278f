"""What a step of a training sees: samples with their noise, times, conditions and keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from windvane.conditions import Condition


@dataclass(frozen=True)
class Items:
    """Rows of data that are more than samples: what a data set's ``batch`` may return.

    Args:
        x: samples ``(B, *shape)``, floating point.
        mask: which of their numbers count in the loss, bool or weights, broadcasts against x; None: all.
        extra: whatever else an objective reads, by name, each with B rows: pairs, lengths, captions' tokens.
    """

    x: Tensor
    mask: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)


class Batch:
    """One process's share of a step: x0, noise ``(b, *shape)``, times ``(b,)``, cond of b rows.

    Times are float64 and on the CPU, and ``(b, K)`` for K streams, see :func:`windvane.process.expand`.
    ``keys`` ``(b,)``, int64 on the CPU, are seeds of the rows: what a corruption or an objective draws from
    them depends on (seed, step, row) alone, so on no process count and no resume. ``mask`` and ``extra`` are
    those of :class:`Items`.
    """

    # Not a dataclass or tuple: DistributedDataParallel takes those apart and would move the times.
    __slots__ = ("cond", "extra", "keys", "mask", "noise", "t", "x0")

    def __init__(
        self,
        x0: Tensor,
        noise: Tensor,
        t: Tensor,
        cond: Condition | None,
        *,
        keys: Tensor | None = None,
        mask: Tensor | None = None,
        extra: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.x0, self.noise, self.t, self.cond = x0, noise, t, cond
        self.keys = torch.arange(len(x0)) if keys is None else keys
        self.mask, self.extra = mask, dict(extra or {})

    def __len__(self) -> int:
        return len(self.x0)

    def part(self, begin: int, end: int) -> "Batch":
        """Rows begin..end-1."""
        rows = slice(begin, end)
        cond = None if self.cond is None else self.cond.index(rows)
        mask = None if self.mask is None else self.mask[rows]
        extra = {name: values[rows] for name, values in self.extra.items()}
        return Batch(
            self.x0[rows], self.noise[rows], self.t[rows], cond, keys=self.keys[rows], mask=mask, extra=extra
        )

    def to(self, device: torch.device) -> "Batch":
        """On ``device``, but for times and keys, which stay on the CPU."""
        if device.type == "cpu":
            return self
        cond = None if self.cond is None else self.cond.to(device)
        mask = None if self.mask is None else self.mask.to(device)
        extra = {name: values.to(device) for name, values in self.extra.items()}
        return Batch(
            self.x0.to(device), self.noise.to(device), self.t, cond, keys=self.keys, mask=mask, extra=extra
        )
