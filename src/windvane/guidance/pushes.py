"""Pushes with a direction and a size."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from windvane.guidance.energy_checks import Watch
from windvane.process import expand, scalar


def rms(x: Tensor) -> Tensor:
    """Root mean square of each row, ``(B,)``."""
    return x.flatten(1).square().mean(1).sqrt()


@dataclass(frozen=True)
class Move:
    """A push whose size depends on its surroundings: ``factor`` times ``direction``, see :class:`Guide`.

    ``keys`` are those of the guides that it comes from.
    """

    direction: Tensor
    factor: Tensor
    relative: bool
    limit: float | None
    keys: tuple[Hashable, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether its size does not depend on its surroundings."""
        return not self.relative and self.limit is None

    def sized(self, unit: Tensor | None) -> Tensor:
        """The push, given the size ``(B,)`` of its surroundings, which a plain one does not need."""
        if unit is None or self.plain:
            whole = self.factor.ndim == 0 and self.factor.is_cpu and self.factor.item() == 1
            return self.direction if whole else expand(self.factor, self.direction) * self.direction
        length = rms(self.direction)
        factor, unit = self.factor.to(length), unit.to(length)
        floor = torch.finfo(length.dtype).tiny
        if self.relative:
            factor = torch.where(length > 0, factor * unit / length.clamp(min=floor), 0)
        if self.limit is not None:
            factor = factor * (self.limit * unit / (factor.abs() * length).clamp(min=floor)).clamp(max=1)
        return expand(factor, self.direction) * self.direction


def all_plain(moves: Sequence[Move]) -> bool:
    """Whether no push needs the size of its surroundings."""
    return moves[0].plain if len(moves) == 1 else all(move.plain for move in moves)


def merged_moves(plain: Sequence[Move], watch: Watch) -> Move:
    """The sum of plain pushes, by the guides without which it would be another one."""
    if len(plain) == 1:
        (move,) = plain
        push = expand(move.factor, move.direction) * move.direction
        acts = watch.changed.issuperset(move.keys) or bool(push.any())
        return Move(push, scalar(1.0, torch.float64), False, None, move.keys if acts else ())
    parts = torch.stack([expand(m.factor, m.direction) * m.direction for m in plain])
    total = parts.sum(0)
    keys = [
        key
        for k, move in enumerate(plain)
        for key in move.keys
        if key in watch.changed or not torch.equal(torch.cat([parts[:k], parts[k + 1 :]]).sum(0), total)
    ]
    return Move(total, torch.ones_like(plain[0].factor), False, None, tuple(keys))
