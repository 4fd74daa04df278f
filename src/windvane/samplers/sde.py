"""DPM-Solver++ for the reverse SDE: fresh noise in every step, first order and multistep."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from windvane.arguments import flag, one_of, settle
from windvane.process import require_gaussian
from windvane.samplers.base import Denoise, Sampler, Traits, require_noise
from windvane.samplers.history import History, level_at


@dataclass(frozen=True)
class DPMSolverSDE(Sampler):
    """SDE-DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095, section 5), orders 1 and 2M.

    With h = l_s - l_t in half log-SNR, M_0 and M_1 the newest predictions, r = (l_t - l_{t-1}) / h:

    x_s = (sigma_s / sigma_t) e^-h x + alpha_s (1 - e^-2h) (M_0 + (M_0 - M_1) / (2 r)) + sigma_s
    sqrt(1 - e^-2h) z, without the difference for order 1, which equals ``DDPM()``.

    Args:
        order: 1 or 2, the weak order of convergence on linear problems.
        lower_order_final: take the last step above sigma = 0 with order 1.

    One evaluation a step. The step to sigma_s = 0 is x0, without noise; a step from alpha_t = 0 is first
    order. Times are 0-dim.

    Raises:
        ValueError: any other order; a process without Gaussian noise.
    """

    order: int = 2
    lower_order_final: bool = True

    def __post_init__(self) -> None:
        settle(
            self,
            order=one_of(self.order, "order of DPMSolverSDE", (1, 2)),
            lower_order_final=flag(self.lower_order_final, "lower_order_final"),
        )

    @cached_property
    def traits(self) -> Traits:  # type: ignore[override]
        return Traits(stochastic=True, gaussian=True, grid="log_snr", memory=self.order > 1)

    def init(self, x: Tensor, times: Tensor) -> History:
        return History.on(times)

    def transition(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: History
    ) -> tuple[Tensor, Tensor, History]:
        """Mean ``(B, *)`` and standard deviation (0-dim) of x_s given x_t and the history."""
        require_gaussian(denoise.process, repr(self))
        here, there = level_at(denoise.process, t), level_at(denoise.process, s)
        history = state.push(here.half, denoise(x, t), keep=self.order)
        h = there.half - here.half
        drift = history.predictions[0]
        if history.order(self.order, there, lower_order_final=self.lower_order_final) == 2:
            r = (here.half - history.halves[1]) / h
            drift = drift + (drift - history.predictions[1]) / (2 * r)
        gain = -math.expm1(-2 * h)
        mean = there.sigma / here.sigma * math.exp(-h) * x + there.alpha * gain * drift
        std = torch.tensor(there.sigma * math.sqrt(gain), dtype=x.dtype)
        return mean, std, history.advance()

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: History, noise: Tensor | None = None
    ) -> tuple[Tensor, History]:
        mean, std, state = self.transition(denoise, x, t, s, state)
        return mean + std * require_noise(noise, self), state
