"""Energies of pictures, for samples that are latents of them."""

from collections.abc import Callable

from torch import Tensor

from windvane.arguments import shown
from windvane.conditions import Condition
from windvane.energies.base import Energy


class Decoded(Energy):
    """energy(decode(z)): an energy of pictures as one of their latents, with gradients through the decoder.

    A sum is decoded once: ``Decoded(a + 2 * b, decode)`` rather than a sum of two. References and
    measurements stay pictures. Use it where the energy is asked about predictions of x0 (the default of
    every guide but those at x_t): a noisy latent is nothing that a decoder knows.

    Args:
        energy: of pictures ``(B, C, H, W)``.
        decode: ``(B, *)`` to pictures, row by row; that of a latent pipeline is ``denoiser.decode``.
    """

    def __init__(self, energy: Energy, decode: Callable[[Tensor], Tensor]) -> None:
        self.energy, self.decode = energy, decode
        self.name = f"{energy.name}, decoded"
        self.signals = energy.signals

    def log_likelihood(self, x: Tensor, t: Tensor, cond: Condition | None) -> Tensor:
        pictures = self.decode(x)
        if not isinstance(pictures, Tensor) or pictures.ndim < 2 or len(pictures) != len(x):
            count = len(pictures) if isinstance(pictures, Tensor) and pictures.ndim else shown(pictures)
            raise ValueError(f"decode of the energy {self.name!r} made {count} pictures of {len(x)} latents")
        return self.energy(pictures, t, cond)
