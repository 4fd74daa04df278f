"""DPM-Solver++ singlestep: 2S and 3S, which make all evaluations of a step inside it."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from windvane.arguments import one_of, settle, sizes, whole
from windvane.process import Process
from windvane.samplers.base import Denoise, Sampler, Traits
from windvane.samplers.history import Level, first_order, level_at, psi


def singlestep_orders(evaluations: int, order: int = 3) -> tuple[int, ...]:
    """The orders of the steps that spend exactly ``evaluations`` network calls (DPM-Solver's "fast" rule).

    For order 3 and n = 3 k + m: k - 1 steps of order 3, then 2, 1 (m = 0); k of order 3, then 1 (m = 1) or
    2 (m = 2). For order 2: n // 2 steps of order 2, and one of order 1 if n is odd.
    """
    evaluations, order = whole(evaluations, "evaluations", least=1), one_of(order, "order", (1, 2, 3))
    full, rest = divmod(evaluations, order)
    if order == 3 and rest == 0:
        return (*[3] * (full - 1), 2, 1)
    return (*[order] * full, *([rest] if rest else []))


@dataclass(frozen=True)
class DPMSolverSinglestep(Sampler):
    """DPM-Solver++ 2S and 3S (Lu et al. 2022, arXiv 2211.01095, algorithm 1, and the authors' code for 3S).

    With h = l_s - l_t in half log-SNR, phi_1(h) = 1 - e^-h, M_0 = D(x, t), and the first-order step from t to
    the time at l_t + r h written U(r):

    2S: x_s = U(1) + alpha_s phi_1(h) (D(U(1/2)) - M_0);
    3S: D_1 = D(U(1/3)), u = U(2/3) + 2 alpha_u phi_2(2 h / 3) (D_1 - M_0) at l_t + 2 h / 3,
    x_s = U(1) + alpha_s phi_2(h) (D(u) - M_0) / (2/3),   phi_2(h) = (e^-h - 1) / h + 1.

    Args:
        order: evaluations in a step, 1 (equals DDIM), 2 or 3, and the order of convergence.
        orders: the order of each step, instead, such as :meth:`fast` makes; steps beyond them have ``order``.

    No history: a step may start anywhere, so searches that jump lose nothing. Steps to or from an infinite
    level (sigma_s = 0, alpha_t = 0) are first order; N steps to sigma = 0 make order (N - 1) + 1 evaluations.

    Raises:
        ValueError: any other order.
    """

    order: int = 2
    orders: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        what = "DPMSolverSinglestep"
        orders = sizes(self.orders, f"orders of {what}")
        settle(
            self,
            order=one_of(self.order, f"order of {what}", (1, 2, 3)),
            orders=tuple(one_of(order, f"each of the orders of {what}", (1, 2, 3)) for order in orders),
        )

    @classmethod
    def fast(cls, evaluations: int, order: int = 3) -> "DPMSolverSinglestep":
        """The solver that spends exactly ``evaluations`` calls, the last of them on the step to zero noise.

        Sample with ``steps=len(solver.orders)``.
        """
        count = whole(evaluations, "evaluations", least=1)
        return cls(order, (*(singlestep_orders(count - 1, order) if count > 1 else ()), 1))

    @cached_property
    def traits(self) -> Traits:  # type: ignore[override]
        return Traits(grid="log_snr", evaluations=None if self.orders else self.order)

    def evaluations(self, process: Process, times: Tensor) -> int:
        halves = [level_at(process, t).half for t in times]
        orders = (*self.orders, *[self.order] * len(halves))
        finite = (math.isfinite(there - here) for here, there in zip(halves, halves[1:]))
        return sum(order if inside else 1 for order, inside in zip(orders, finite))

    def init(self, x: Tensor, times: Tensor) -> int:
        """The state is the number of steps taken, which chooses the order."""
        return 0

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: int, noise: Tensor | None = None
    ) -> tuple[Tensor, int]:
        here, there = level_at(denoise.process, t), level_at(denoise.process, s)
        h = there.half - here.half
        order = self.orders[state] if state < len(self.orders) else self.order
        m0 = denoise(x, t)
        x_s = first_order(x, m0, here, there)
        if order == 1 or not math.isfinite(h):
            return x_s, state + 1
        share = 1 / order
        inner, between = _between(denoise, here, h, share)
        m1 = denoise(first_order(x, m0, here, between), inner)
        if order == 2:
            return x_s - there.alpha * psi(0, -h) * (m1 - m0), state + 1
        inner, between = _between(denoise, here, h, 2 * share)
        u = first_order(x, m0, here, between) - 2 * between.alpha * psi(1, -2 * h / 3) * (m1 - m0)
        m2 = denoise(u, inner)
        return x_s - there.alpha * psi(1, -h) * 1.5 * (m2 - m0), state + 1


def _between(denoise: Denoise, here: Level, h: float, share: float) -> tuple[Tensor, Level]:
    """The time at l_t + share h, and its level."""
    lmbda = torch.tensor(2 * (here.half + share * h), dtype=torch.float64)
    time = denoise.process.t_of_log_snr(lmbda)
    return time, level_at(denoise.process, time)
