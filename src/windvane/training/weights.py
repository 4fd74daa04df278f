"""Loss weights as functions of the log-SNR, for the squared error of D.

Every parametrisation is affine in D given x_t, so a plain loss on eps, v, the flow or EDM's F is a weighted
loss on x0. All weights here multiply ||D - x0||^2; lambda = log(alpha^2 / sigma^2), SNR = e^lambda. What the
density of the drawn times contributes is the time sampler's business (:mod:`windvane.training.times`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: lambda -> weight, any shape, float64; must accept -inf.
Weight = Callable[[Tensor], Tensor]

# Near t = 0 the SNR grows without bound while D - x0 cannot fall below float32 rounding; e^20 is 2000 times
# the SNR at EDM's sigma_min, so no schedule in use is touched.
_HIGHEST = 20.0


def _snr(lmbda: Tensor) -> Tensor:
    return torch.exp(lmbda.clamp(max=_HIGHEST))


def x0_weight(lmbda: Tensor) -> Tensor:
    """1: the plain loss on x0."""
    return torch.ones_like(lmbda)


def eps_weight(lmbda: Tensor) -> Tensor:
    """SNR: eps_hat - eps = -(alpha / sigma)(D - x0), Ho et al. 2020, eq. 14."""
    return _snr(lmbda)


def v_weight(lmbda: Tensor) -> Tensor:
    """SNR + 1: v_hat - v = -(D - x0) / sigma if variance is preserved (Salimans and Ho 2022, section 4).

    For other processes this is the plain loss on the v of the state divided by sqrt(alpha^2 + sigma^2).
    """
    return _snr(lmbda) + 1


def flow_weight(lmbda: Tensor) -> Tensor:
    """(sqrt(SNR) + 1)^2: u_hat - u = -((alpha + sigma) / sigma)(D - x0) for u = eps - x0.

    For rectified flow, alpha + sigma = 1, this is 1 / t^2 (Lipman et al. 2023).
    """
    return (torch.exp(lmbda.clamp(max=_HIGHEST) / 2) + 1) ** 2


@dataclass(frozen=True)
class MinSNR:
    """min(SNR, gamma), Hang et al. 2023, section 3.4.

    In terms of other losses: min(SNR, gamma) / SNR times the eps loss, min(SNR, gamma) / (SNR + 1) times
    the v loss of a variance preserving process.
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        if self.gamma <= 0:
            raise ValueError(f"min-SNR needs gamma > 0 (5 is usual), got {self.gamma}")

    def __call__(self, lmbda: Tensor) -> Tensor:
        return _snr(lmbda).clamp(max=self.gamma)


@dataclass(frozen=True)
class EDMWeight:
    """SNR + 1 / sigma_data^2, which for alpha = 1 is (sigma^2 + sigma_data^2) / (sigma sigma_data)^2.

    The plain loss on the preconditioned output F (Karras et al. 2022, table 1).
    """

    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        if self.sigma_data <= 0:
            raise ValueError(f"the EDM weight needs sigma_data > 0, got {self.sigma_data}")

    def __call__(self, lmbda: Tensor) -> Tensor:
        return _snr(lmbda) + self.sigma_data**-2


@dataclass(frozen=True)
class SigmoidWeight:
    """e^bias sigmoid(lambda - bias), which is sigmoid(bias - lambda) times the eps loss.

    Kingma and Gao 2023, "Understanding diffusion objectives as the ELBO": w(lambda) = sigmoid(bias - lambda).
    Deviation: their factor -dlambda/dt is left out, so w acts on the times as they are drawn.
    """

    bias: float = 2.0

    def __call__(self, lmbda: Tensor) -> Tensor:
        return torch.exp(torch.nn.functional.logsigmoid(lmbda - self.bias) + self.bias)


#: The weights by name, with their usual settings.
WEIGHTS: dict[str, Weight] = {
    "x0": x0_weight,
    "eps": eps_weight,
    "v": v_weight,
    "flow": flow_weight,
    "min-snr": MinSNR(),
    "edm": EDMWeight(),
    "sigmoid": SigmoidWeight(),
}


def weight_named(name: str) -> Weight:
    """The weight called ``name``; a ValueError lists the names there are."""
    if name not in WEIGHTS:
        raise ValueError(f"unknown loss weight {name!r}; known: {', '.join(WEIGHTS)}")
    return WEIGHTS[name]
