"""DDIM with any share of noise, and DDPM's ancestral sampling.

Both draw from q(x_s | x_t, x0) with x0 replaced by its prediction; they differ in the noise they add.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar

import torch
from torch import Tensor

from windvane.arguments import one_of, real, settle
from windvane.convert import eps_from_x0
from windvane.process import Process, expand, require_gaussian
from windvane.samplers.base import Denoise, Sampler, State, Traits, require_noise


@dataclass(frozen=True)
class DDIM(Sampler):
    """DDIM (Song, Meng, Ermon 2021, arXiv 2010.02502, eq. 12 and 16), for any process.

    x_s = alpha_s x0 + sqrt(sigma_s^2 - v^2) eps_hat + v z,   eps_hat = (x_t - alpha_t x0) / sigma_t,
    v^2 = eta^2 sigma_s^2 (1 - exp(lambda_t - lambda_s)),      lambda = log(alpha^2 / sigma^2).

    ``eta = 0`` is deterministic and equals :class:`~windvane.samplers.Euler`; ``eta = 1`` equals
    :class:`DDPM`. One evaluation a step. Times may be 0-dim or ``(B,)``. The last step, to sigma_s = 0,
    returns x0.

    Raises:
        ValueError: eta outside [0, 1]; eta > 0 on a process without Gaussian noise.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        settle(self, eta=real(self.eta, "eta of DDIM (0 deterministic, 1 ancestral)", least=0, most=1))

    @cached_property
    def traits(self) -> Traits:  # type: ignore[override]
        return Traits(stochastic=self.eta > 0, gaussian=True)

    def init(self, x: Tensor, times: Tensor) -> State:
        return ()

    def transition(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        """Mean ``(B, *)`` and standard deviation (broadcasts against it) of x_s given x_t."""
        process = denoise.process
        if self.stochastic and not process.gaussian:
            require_gaussian(process, repr(self))
        x0 = denoise(x, t)
        eps = eps_from_x0(process, x, x0, t)
        alpha, direction, std = process.coefficients(self, (t, s), x, partial(self._coefficients, process))
        return alpha * x0 + direction * eps, std, state

    def _coefficients(self, process: Process, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """alpha_s, sqrt(sigma_s^2 - v^2) and v."""
        alpha, sigma = process.scales(s)
        if not self.stochastic:
            return alpha, sigma, torch.zeros_like(sigma)
        gain = process.log_snr(t) - process.log_snr(s)
        direction = sigma * torch.sqrt(1 - self.eta**2 + self.eta**2 * torch.exp(gain))
        return alpha, direction, sigma * self.eta * torch.sqrt(-torch.expm1(gain))

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: State, noise: Tensor | None = None
    ) -> tuple[Tensor, State]:
        mean, std, state = self.transition(denoise, x, t, s, state)
        return (mean + std * require_noise(noise, self) if self.stochastic else mean), state


@dataclass(frozen=True)
class DDPM(Sampler):
    """Ancestral sampling (Ho, Jain, Abbeel 2020, arXiv 2006.11239, algorithm 2), for any process.

    mean = alpha_s x0 + sigma_s exp((lambda_t - lambda_s) / 2) eps_hat, the mean of q(x_s | x_t, x0);
    ``variance="small"``: sigma_s^2 (1 - exp(lambda_t - lambda_s)), the posterior's own (beta tilde);
    ``variance="large"``: sigma_t^2 (1 - exp(lambda_t - lambda_s)), the forward step's (beta).

    The two agree in the limit of many steps; "large" overshoots on coarse grids, above all where
    alpha_t is near 0. The last step, to sigma_s = 0, returns x0 without noise, as in the paper. One
    evaluation a step. Times may be 0-dim or ``(B,)``.

    Raises:
        ValueError: unknown variance; a process without Gaussian noise.
    """

    variance: str = "small"
    traits: ClassVar[Traits] = Traits(stochastic=True, gaussian=True)  # type: ignore[misc]

    def __post_init__(self) -> None:
        settle(self, variance=one_of(self.variance, "variance of DDPM", ("small", "large")))

    def init(self, x: Tensor, times: Tensor) -> State:
        return ()

    def transition(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        """Mean ``(B, *)`` and standard deviation (broadcasts against it) of x_s given x_t."""
        if not denoise.process.gaussian:
            require_gaussian(denoise.process, repr(self))
        mean, std, state = DDIM(eta=1.0).transition(denoise, x, t, s, state)
        if self.variance == "large":
            process, sigma_s = denoise.process, denoise.process.sigma(s)
            gain = process.log_snr(t) - process.log_snr(s)
            large = process.sigma(t) * torch.sqrt(-torch.expm1(gain))
            std = expand(torch.where(sigma_s > 0, large, torch.zeros_like(large)), x)
        return mean, std, state

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: State, noise: Tensor | None = None
    ) -> tuple[Tensor, State]:
        mean, std, state = self.transition(denoise, x, t, s, state)
        return mean + std * require_noise(noise, self), state
