"""One evaluation of a denoiser, and the backward passes through it that guides share."""

from collections.abc import Hashable

import torch
from torch import Tensor

from windvane.energies.targets import time_noise
from windvane.guidance.energy_checks import Watch
from windvane.guidance.guide import Guide
from windvane.guidance.pushes import Move, merged_moves
from windvane.process import Process, expand


class Pull:
    """x, D and the backward passes between them."""

    def __init__(self, x: Tensor, x0: Tensor, outer: bool) -> None:
        self.x, self.x0, self.outer = x, x0, outer
        self.draws: dict[Hashable, list[Tensor]] = {}

    def at_x(self) -> Tensor:
        """x as the variable of a gradient."""
        return self.x

    def at_x0(self) -> Tensor:
        """D as the variable of a gradient: apart from its own graph, unless that is wanted outside."""
        if self.outer and self.x0.requires_grad:
            return self.x0
        return self.x0.detach().requires_grad_(True)

    def all(self, waiting: list[tuple[bool, bool, Move]], watch: Watch) -> list[tuple[bool, Move]]:
        """The moves with their directions taken back to x; plain ones for one place share a pass."""
        if len(waiting) == 1:
            ((after, is_plain, move),) = waiting
            return [self._taken_back(after, merged_moves([move], watch) if is_plain else move, True)]
        together: list[tuple[bool, Move]] = []
        for after in (False, True):
            plain = [m for place, is_plain, m in waiting if place == after and is_plain]
            if plain:
                together.append((after, merged_moves(plain, watch)))
            together += [(place, m) for place, is_plain, m in waiting if place == after and not is_plain]
        last = len(together) - 1
        return [self._taken_back(after, move, k == last) for k, (after, move) in enumerate(together)]

    def _taken_back(self, after: bool, move: Move, last: bool) -> tuple[bool, Move]:
        back = self._back(move.direction, last)
        return after, Move(back, move.factor, move.relative, move.limit, move.keys)

    def _back(self, cotangent: Tensor, last: bool) -> Tensor:
        """(dD / dx)^T cotangent."""
        if not self.x0.requires_grad:
            raise ValueError(
                "the denoiser gives no gradient: a guide with through=True needs one. Take no_grad() or "
                "detach() out of it, or use through=False"
            )
        (back,) = torch.autograd.grad(
            self.x0, self.x, cotangent, create_graph=self.outer, retain_graph=self.outer or not last
        )
        return back

    def draws_of(
        self, guide: Guide, process: Process, z: Tensor, times: Tensor, level: float
    ) -> list[Tensor]:
        """r d for every draw of a guide: the same at each gradient of an evaluation, made once for it."""
        key = (id(guide), z.dtype)
        if key not in self.draws:
            radius = expand(guide.radii(process, times, level), z)
            keys = [(guide.seed, k, z.dtype) for k in range(guide.draws)]
            for drawn in keys:
                if drawn not in self.draws:
                    self.draws[drawn] = [time_noise(guide.seed, times, z.shape[1:], drawn[1]).to(z)]
            self.draws[key] = [radius * self.draws[drawn][0] for drawn in keys]
        return self.draws[key]
