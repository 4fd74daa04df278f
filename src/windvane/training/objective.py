"""The training loss: one value per sample."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.denoiser import Denoiser, NetworkDenoiser
from windvane.process import expand
from windvane.training.batch import Batch
from windvane.training.corruption import Corruption, Noised
from windvane.training.weights import EDMWeight, Weight, weight_named


class Objective(Protocol):
    """(model, batch, keys) -> loss (B,), one value per sample and no coupling between samples.

    ``keys`` ``(B,)`` are seeds for what it draws, other ones for each update of a step, see
    :class:`~windvane.training.batch.Batch`.
    """

    def __call__(self, model: Any, batch: Batch, keys: Tensor, /) -> Tensor: ...


class Denoising:
    """loss = w(lambda(t)) mean_d (D(x_t, t, cond) - x0)^2, with x_t = alpha x0 + sigma eps.

    Args:
        weight: a name of :data:`windvane.training.weights.WEIGHTS` or a function of lambda ``(B,)``.
        corruption: another way than noise from x0 to x_t, see
            :class:`~windvane.training.corruption.Corruption`; its weights of ``"x0"`` multiply the squares.

    Returns float32 ``(B,)``, also when the network runs in a lower precision. With times ``(B, K)`` each of
    K streams has its own lambda and weight. The error is scaled by sqrt(w) before squaring: D of an eps
    network grows as 1 / alpha where SNR falls as alpha^2, and only their product is representable. Where the
    batch has a mask, the mean is over what it marks, weighted by it; a row without any has the loss 0.
    """

    def __init__(self, weight: str | Weight = "v", corruption: Corruption | None = None) -> None:
        self.name = weight if isinstance(weight, str) else repr(weight)
        self.weight = weight_named(weight) if isinstance(weight, str) else weight
        self.corruption = corruption

    def __repr__(self) -> str:
        own = "" if self.corruption is None else f", corruption={self.corruption!r}"
        return f"Denoising(weight={self.name!r}{own})"

    def __call__(
        self,
        denoiser: Denoiser,
        batch: Batch | Tensor,
        keys: Tensor | None = None,
        noise: Tensor | None = None,
        cond: Condition | None = None,
    ) -> Tensor:
        if isinstance(batch, Tensor):
            warnings.warn(
                "the call (denoiser, x0, t, noise, cond) is (denoiser, Batch(x0, noise, t, cond), keys) now; "
                "the old one goes with the next release",
                DeprecationWarning,
                stacklevel=2,
            )
            assert keys is not None and noise is not None
            batch = Batch(batch, noise, keys, cond)
            keys = None
        process = denoiser.process
        corrupt = Noised(process) if self.corruption is None else self.corruption
        seen = corrupt(batch, batch.keys if keys is None else keys)
        root = self.weight(process.log_snr(seen.t)).sqrt()
        d = denoiser(seen.x_t, seen.t, seen.cond)
        with torch.autocast(batch.x0.device.type, enabled=False):
            error = (d.float() - seen.targets["x0"].float()) * expand(root, d.float())
            squared = error.square()
            if "x0" in seen.weights:
                squared = squared * seen.weights["x0"].float()
            return masked_mean(squared, batch.mask)


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of each row ``(B,)`` over what ``mask`` marks, weighted by it; 0 where it marks nothing."""
    if mask is None:
        return values.flatten(1).mean(dim=1)
    weights = mask.to(values).expand_as(values).flatten(1)
    total = weights.sum(dim=1)
    return (values.flatten(1) * weights).sum(dim=1) / total.where(total > 0, torch.ones_like(total))


class _OfNoise:
    """An objective of before, (denoiser, x0, t, noise, cond) -> (B,)."""

    def __init__(self, objective: Callable[..., Tensor]) -> None:
        self.objective = objective

    def __repr__(self) -> str:
        return repr(self.objective)

    def __call__(self, model: Any, batch: Batch, keys: Tensor) -> Tensor:
        return self.objective(model, batch.x0, batch.t, batch.noise, batch.cond)


def as_objective(objective: Any) -> Objective:
    """An objective; one of the five arguments of before still works, with a warning."""
    try:
        inspect.signature(objective).bind(None, None, None)
    except TypeError:
        warnings.warn(
            "an objective is (model, batch, keys) -> (B,) now; (denoiser, x0, t, noise, cond) goes with the "
            "next release",
            DeprecationWarning,
            stacklevel=3,
        )
        return _OfNoise(objective)
    except ValueError:  # a signature that cannot be known
        pass
    return objective


def default_objective(denoiser: Denoiser) -> Denoising:
    """The plain loss on what the network itself predicts; "v" for denoisers that do not say what that is."""
    if not isinstance(denoiser, NetworkDenoiser):
        return Denoising("v")
    if denoiser.parametrisation == "edm":
        return Denoising(EDMWeight(denoiser.sigma_data))
    return Denoising(denoiser.parametrisation)
