"""The training loss: one value per sample."""

from typing import Protocol

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.denoiser import Denoiser, NetworkDenoiser
from windvane.process import expand
from windvane.training.weights import EDMWeight, Weight, weight_named


class Objective(Protocol):
    """(denoiser, x0, t, noise, cond) -> loss (B,), one value per sample and no coupling between samples."""

    def __call__(
        self, denoiser: Denoiser, x0: Tensor, t: Tensor, noise: Tensor, cond: Condition | None
    ) -> Tensor: ...


class Denoising:
    """loss = w(lambda(t)) mean_d (D(x_t, t, cond) - x0)^2, with x_t = alpha x0 + sigma eps.

    Args:
        weight: a name of :data:`windvane.training.weights.WEIGHTS` or a function of lambda ``(B,)``.

    Call with ``x0`` and ``noise`` ``(B, *shape)``, ``t`` ``(B,)`` (float64, CPU) and a condition of B rows or
    None; returns float32 ``(B,)``, also when the network runs in a lower precision. With ``t`` ``(B, K)``
    each of K streams has its own lambda and weight. The error is scaled by sqrt(w) before squaring: D of an
    eps network grows as 1 / alpha where SNR falls as alpha^2, and only their product is representable.
    """

    def __init__(self, weight: str | Weight = "v") -> None:
        self.name = weight if isinstance(weight, str) else repr(weight)
        self.weight = weight_named(weight) if isinstance(weight, str) else weight

    def __repr__(self) -> str:
        return f"Denoising(weight={self.name!r})"

    def __call__(
        self, denoiser: Denoiser, x0: Tensor, t: Tensor, noise: Tensor, cond: Condition | None = None
    ) -> Tensor:
        process = denoiser.process
        root = self.weight(process.log_snr(t)).sqrt()
        d = denoiser(process.perturb(x0, t, noise), t, cond)
        with torch.autocast(x0.device.type, enabled=False):
            error = (d.float() - x0.float()) * expand(root, d.float())
            return error.square().flatten(1).mean(dim=1)


def default_objective(denoiser: Denoiser) -> Denoising:
    """The plain loss on what the network itself predicts; "v" for denoisers that do not say what that is."""
    if not isinstance(denoiser, NetworkDenoiser):
        return Denoising("v")
    if denoiser.parametrisation == "edm":
        return Denoising(EDMWeight(denoiser.sigma_data))
    return Denoising(denoiser.parametrisation)
