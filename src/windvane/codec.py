"""Codecs: between data and what a denoiser works on, where the two differ."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from windvane.conditions import Condition


@runtime_checkable
class Codec(Protocol):
    """Data ``(B, *shape)`` to latents ``(B, *latent)`` and back, row by row and differentiable.

    A denoiser has its codec as ``denoiser.codec``; None there: its samples are the data themselves. A codec
    may need a condition (the reference that a flow is relative to); one that does not leaves it alone.
    """

    @property
    def value_range(self) -> tuple[float, float] | None:
        """The range of data, or None where it has no bounds."""
        ...

    def encode(self, x: Tensor, cond: Condition | None = None) -> Tensor:
        """Latents of data."""
        ...

    def decode(self, z: Tensor, cond: Condition | None = None) -> Tensor:
        """Data of latents, not clamped."""
        ...

    def latent_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of one latent of data of ``shape``."""
        ...


def data_shape(codec: Codec | None, latent: Sequence[int], device: torch.device | str) -> tuple[int, ...]:
    """The shape of the data that a latent of shape ``latent`` becomes; without a codec its own."""
    if codec is None:
        return tuple(latent)
    with torch.no_grad():
        return tuple(codec.decode(torch.zeros(1, *latent, device=device)).shape[1:])
