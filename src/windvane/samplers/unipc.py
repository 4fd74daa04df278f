"""UniPC: a predictor and a corrector of any order that share one evaluation a step."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from windvane.arguments import flag, one_of, settle
from windvane.samplers.base import Denoise, Sampler, Traits
from windvane.samplers.history import History, first_order, level_at, psi


@dataclass(frozen=True)
class UniPC(Sampler):
    """UniPC-p with data prediction (Zhao et al. 2023, arXiv 2302.04867, algorithms 5 and 6).

    With h = l_s - l_t in half log-SNR, z = -h, X the first-order step from the newest prediction M_0,
    r_i = (l_{t-i} - l_t) / h and Delta_i = (M_i - M_0) / r_i:

    predictor: x'  = X - alpha_s B sum_{i<p} rho_i Delta_i
    corrector: x_s = X - alpha_s B (sum_{i<p} rho_i Delta_i + rho_p (D(x', s) - M_0))

    where rho solves sum_j r_j^(k-1) rho_j = k! psi_k(z) / B over the points used (r_p = 1), rho = 1/2
    where only one point is used, and B = z for "bh1", e^z - 1 for "bh2".

    Args:
        order: p, 1 to 3. Without corrector the order of convergence is p, with it p + 1.
        variant: "bh2" (default, for guided sampling) or "bh1" (unconditional).
        corrector: whether to correct. D(x', s) is reused as the next step's M_0, so N steps make N
            evaluations with and without. Without, "bh2" of order 2 and 3 equals DPM-Solver++ 2M and 3M.
        lower_order_final: let the order fall to the number of steps left above sigma = 0, as the authors'
            code does where it ends with a denoising step. "bh1" of order 3 needs it most: at 3 to 6 calls it
            errs two to four times as much without. See :class:`~windvane.samplers.DPMSolverPP`.

    The last step above sigma = 0 is not corrected: its D(x', s) is what the step to 0 returns. The order
    grows 1, 2, 3 from the start; the first step limits the asymptotic order to 3 with the corrector and to 2
    without. Steps to or from an infinite level (sigma_s = 0, alpha_t = 0) are first order, uncorrected.

    Raises:
        ValueError: order outside 1..3 or an unknown variant.
    """

    order: int = 2
    variant: str = "bh2"
    corrector: bool = True
    lower_order_final: bool = True
    traits: ClassVar[Traits] = Traits(grid="log_snr", memory=True)  # type: ignore[misc]

    def __post_init__(self) -> None:
        settle(
            self,
            order=one_of(self.order, "order of UniPC", (1, 2, 3)),
            variant=one_of(self.variant, "variant of UniPC", ("bh1", "bh2")),
            corrector=flag(self.corrector, "corrector"),
            lower_order_final=flag(self.lower_order_final, "lower_order_final"),
        )

    def init(self, x: Tensor, times: Tensor) -> History:
        return History.on(times)

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: History, noise: Tensor | None = None
    ) -> tuple[Tensor, History]:
        here, there = level_at(denoise.process, t), level_at(denoise.process, s)
        known = state.at(here.half)
        m0 = denoise(x, t) if known is None else known
        history = state.push(here.half, m0, keep=self.order)
        base = first_order(x, m0, here, there)
        z = here.half - there.half
        if not math.isfinite(z):
            return base, history.advance()
        order = history.order(self.order, there, lower_order_final=self.lower_order_final)
        scale = z if self.variant == "bh1" else math.expm1(z)
        ratios = [(here.half - older) / z for older in history.halves[1:order]]
        deltas = [(m - m0) / r for m, r in zip(history.predictions[1:order], ratios)]
        x_s = _corrected(base, deltas, _weights(ratios, z, scale), -there.alpha * scale)
        if not self.corrector or state.steps_left <= 1:
            return x_s, history.advance()
        m_s = denoise(x_s, s)
        x_s = _corrected(base, [*deltas, m_s - m0], _weights([*ratios, 1.0], z, scale), -there.alpha * scale)
        return x_s, history.advance(ready=(there.half, m_s))


def _corrected(base: Tensor, deltas: list[Tensor], weights: list[float], factor: float) -> Tensor:
    for weight, delta in zip(weights, deltas):
        base = base + factor * weight * delta
    return base


def _weights(ratios: list[float], z: float, scale: float) -> list[float]:
    """rho of the points at ``ratios``: R rho = b with R_kj = r_j^(k-1), b_k = k! psi_k(z) / B."""
    if len(ratios) <= 1:
        return [0.5] * len(ratios)
    powers = range(len(ratios))
    matrix = torch.tensor([[r**k for r in ratios] for k in powers], dtype=torch.float64)
    moments = [math.factorial(k + 1) * psi(k + 1, z) / scale for k in powers]
    return torch.linalg.solve(matrix, torch.tensor(moments, dtype=torch.float64)).tolist()
