"""An autoencoder's range as the manifold of data: where Manifold Preserving Guidance projects."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from windvane.conditions import Condition
from windvane.energies import Energy


@dataclass(frozen=True)
class Autoencoder:
    """encode ``(B, *) -> (B, *latent)`` and decode back, differentiable, rows independent."""

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        """decode(encode(x)), checked for its shape."""
        return self.decoded(self.encode(x), x)

    def decoded(self, z: Tensor, like: Tensor) -> Tensor:
        """decode(z), which must have the shape of ``like``."""
        out = self.decode(z)
        if out.shape != like.shape:
            raise ValueError(
                f"the autoencoder turns data of shape {tuple(like.shape)} into {tuple(out.shape)}; it must "
                "give back what it was given"
            )
        return out


class OnManifold(Energy):
    """l(decode(encode(x))): the gradient passes through the autoencoder, which takes from it what leaves the
    data's manifold (MPGD-AE, He et al. 2024, arXiv 2311.16424, section 4).
    """

    def __init__(self, energy: Energy, autoencoder: Autoencoder) -> None:
        self.energy, self.autoencoder = energy, autoencoder
        self.name, self.signals = f"{energy.name} on the manifold", energy.signals

    def log_likelihood(self, x: Tensor, t: Tensor, cond: Condition | None) -> Tensor:
        return self.energy(self.autoencoder(x), t, cond)
