"""Euler and Heun on the probability flow dx = x0_hat d(alpha) + eps_hat d(sigma)."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from windvane.arguments import real, settle
from windvane.convert import eps_from_x0
from windvane.process import Process, expand, require_gaussian
from windvane.samplers.base import Denoise, Sampler, State, Traits, is_zero, require_noise


@dataclass(frozen=True)
class Euler(Sampler):
    """Euler's rule on the probability flow, first order, one evaluation a step.

    x_s = x + (alpha_s - alpha_t) x0 + (sigma_s - sigma_t) eps_hat,   eps_hat = (x - alpha_t x0) / sigma_t.

    Equals ``DDIM(eta=0)`` on every process, EDM's Euler where alpha = 1 (Karras et al. 2022) and the
    usual Euler in t on the rectified flow. No singularity at alpha_t = 0. Times may be 0-dim or ``(B,)``.
    """

    traits: ClassVar[Traits] = Traits()  # type: ignore[misc]

    def init(self, x: Tensor, times: Tensor) -> State:
        return ()

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: State, noise: Tensor | None = None
    ) -> tuple[Tensor, State]:
        process = denoise.process
        x0 = denoise(x, t)
        eps = eps_from_x0(process, x, x0, t)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = process.scales(t), process.scales(s)
        d_alpha, d_sigma = alpha_s - alpha_t, sigma_s - sigma_t
        return x + expand(d_alpha, x) * x0 + expand(d_sigma, x) * eps, state


@dataclass(frozen=True)
class Heun(Sampler):
    """Heun's trapezoidal rule on the probability flow, with EDM's churn; second order.

    x'  = x + (alpha_s - alpha_t) x0_t + (sigma_s - sigma_t) eps_t
    x_s = x + (alpha_s - alpha_t) (x0_t + x0_s) / 2 + (sigma_s - sigma_t) (eps_t + eps_s) / 2

    with x0_s, eps_s at x'. Equals EDM's sampler where alpha = 1 (Karras et al. 2022, arXiv 2206.00364,
    algorithm 2) and Heun in t on the rectified flow. The step to sigma_s = 0 is Euler's, so N steps make
    2 N - 1 evaluations.

    Args:
        churn: S_churn; before a step the noise level k = sigma / alpha is raised to (1 + gamma) k with
            gamma = min(churn / N, sqrt(2) - 1), if s_min <= k <= s_max. 0 is deterministic.
        s_min, s_max: the noise levels between which churn acts.
        s_noise: scale of the added noise, S_noise.

    Deviation: churn never raises the time above 1, so it does nothing at t = 1 (EDM's code goes above
    sigma_max). The noise enters before the network, so there is no Gaussian ``transition``.

    Raises:
        ValueError: negative churn or s_noise; s_min > s_max; churn on a process without Gaussian noise.
    """

    churn: float = 0.0
    s_min: float = 0.0
    s_max: float = math.inf
    s_noise: float = 1.0

    def __post_init__(self) -> None:
        low = real(self.s_min, "s_min of Heun", least=0)
        settle(
            self,
            churn=real(self.churn, "churn of Heun", least=0),
            s_min=low,
            s_max=real(self.s_max, "s_max of Heun", least=low, finite=False),
            s_noise=real(self.s_noise, "s_noise of Heun", least=0),
        )

    @cached_property
    def traits(self) -> Traits:  # type: ignore[override]
        return Traits(stochastic=self.churn > 0, evaluations=2)

    def init(self, x: Tensor, times: Tensor) -> State:
        """The state is the number of steps N, which churn is divided by."""
        return len(times) - 1

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: State, noise: Tensor | None = None
    ) -> tuple[Tensor, State]:
        process = denoise.process
        if self.stochastic:
            x, t = self._raise_noise(process, x, t, state, require_noise(noise, self))
        (alpha_t, sigma_t), (alpha_s, sigma_s) = process.scales(t), process.scales(s)
        d_alpha, d_sigma = alpha_s - alpha_t, sigma_s - sigma_t
        x0 = denoise(x, t)
        eps = eps_from_x0(process, x, x0, t)
        x_s = x + expand(d_alpha, x) * x0 + expand(d_sigma, x) * eps
        if is_zero(sigma_s):
            return x_s, state
        x0_s = denoise(x_s, s)
        eps_s = eps_from_x0(process, x_s, x0_s, s)
        return x + expand(d_alpha / 2, x) * (x0 + x0_s) + expand(d_sigma / 2, x) * (eps + eps_s), state

    def _raise_noise(
        self, process: Process, x: Tensor, t: Tensor, steps: int, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        require_gaussian(process, repr(self))
        level = process.noise_level(t)
        gamma = min(self.churn / max(steps, 1), math.sqrt(2) - 1)
        higher = process.t_of_noise_level((1 + gamma) * level).clamp(max=1.0)
        # At time 1, up to rounding, there is no room above.
        if not (self.s_min <= float(level) <= self.s_max and higher > t * (1 + 1e-9)):
            return x, t
        return process.renoise(x, t, higher, self.s_noise * noise), higher.to(torch.float64)
