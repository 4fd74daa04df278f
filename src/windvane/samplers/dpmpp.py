"""DPM-Solver++ multistep: 2M and 3M."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from windvane.arguments import flag, one_of, settle
from windvane.samplers.base import Denoise, Sampler, Traits
from windvane.samplers.history import History, Level, first_order, level_at, psi


@dataclass(frozen=True)
class DPMSolverPP(Sampler):
    """DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095), multistep with data prediction.

    With h = l_s - l_t in half log-SNR, M_0, M_1, M_2 the newest predictions, and
    X = (sigma_s / sigma_t) x + alpha_s (1 - e^-h) M_0:

    2M (algorithm 2): x_s = X + alpha_s (1 - e^-h) (M_0 - M_1) / (2 r),   r = (l_t - l_{t-1}) / h.
    3M: x_s = X + alpha_s phi_2 D_1 - alpha_s phi_3 D_2, phi_2 = (e^-h - 1) / h + 1, phi_3 = phi_2 / h - 1/2,
    D_1 = A + r_0 (A - B) / (r_0 + r_1), D_2 = 2 (A - B) / (r_0 + r_1): estimates of h M' and h^2 M'', from
    A = (M_0 - M_1) / r_0, B = (M_1 - M_2) / r_1, r_0 = (l_t - l_{t-1}) / h, r_1 = (l_{t-1} - l_{t-2}) / h.

    Args:
        order: 1 (equals DDIM), 2 or 3: the order of convergence. 2 is the robust choice; 3 gains on
            smooth problems and loses below about eight steps on wide ranges.
        as_released: take D_2 without the factor 2, as the authors' code does and its ports do. M'' then has
            half its weight: the order falls from 3 to 2, and steps that are too long for order 3 err less.
            3M is not in the paper; this is the deviation from the code. Acts on order 3 only.
        lower_order_final: let the order fall to the number of steps left above sigma = 0, as the authors'
            code does on short grids where it ends with a denoising step; here on all grids. On three mixtures
            (2, 16 and 64 dimensions, VP and EDM) order 3 errs up to three times less with it at 5 and 6
            calls, up to twice as much at 8, and as much from 12 on; order 2 up to 1.5 times more at 3 and 4
            calls, up to a third less at 5 to 8, and as much from 12 on.

    One evaluation a step. The order grows 1, 2, 3 from the start; the first step limits the asymptotic
    order of 3M to 2, with a small constant where D hardly changes at high noise. The step to sigma_s = 0
    is x0.

    Raises:
        ValueError: any other order.
    """

    order: int = 2
    as_released: bool = False
    lower_order_final: bool = True

    def __post_init__(self) -> None:
        settle(
            self,
            order=one_of(self.order, "order of DPMSolverPP", (1, 2, 3)),
            as_released=flag(self.as_released, "as_released"),
            lower_order_final=flag(self.lower_order_final, "lower_order_final"),
        )

    @cached_property
    def traits(self) -> Traits:  # type: ignore[override]
        return Traits(grid="log_snr", memory=self.order > 1)

    def init(self, x: Tensor, times: Tensor) -> History:
        return History.on(times)

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: History, noise: Tensor | None = None
    ) -> tuple[Tensor, History]:
        here, there = level_at(denoise.process, t), level_at(denoise.process, s)
        history = state.push(here.half, denoise(x, t), keep=self.order)
        x_s = first_order(x, history.predictions[0], here, there)
        order = history.order(self.order, there, lower_order_final=self.lower_order_final)
        if order == 2:
            x_s = x_s + _second_order(history, there)
        elif order == 3:
            x_s = x_s + _third_order(history, there, curvature=1.0 if self.as_released else 2.0)
        return x_s, history.advance()


def _second_order(history: History, there: Level) -> Tensor:
    (l0, l1), (m0, m1) = history.halves[:2], history.predictions[:2]
    h = there.half - l0
    r = (l0 - l1) / h
    return -there.alpha * psi(0, -h) / (2 * r) * (m0 - m1)


def _third_order(history: History, there: Level, curvature: float) -> Tensor:
    (l0, l1, l2), (m0, m1, m2) = history.halves, history.predictions
    h = there.half - l0
    r0, r1 = (l0 - l1) / h, (l1 - l2) / h
    newer, older = (m0 - m1) / r0, (m1 - m2) / r1
    phi_2, phi_3 = -psi(1, -h), psi(2, -h)
    # D_1 = newer + r0 / (r0 + r1) (newer - older) and D_2 = curvature (newer - older) / (r0 + r1).
    bend = (phi_2 * r0 - curvature * phi_3) / (r0 + r1)
    return there.alpha * phi_2 * newer + there.alpha * bend * (newer - older)
