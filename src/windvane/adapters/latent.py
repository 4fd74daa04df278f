"""Latents: the autoencoder of a pipeline, with gradients."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from windvane.conditions import Condition


class Latent(nn.Module):
    """An autoencoder of diffusers as a :class:`~windvane.codec.Codec` of pictures in [-1, 1].

    z = (E(x) - shift) * scale and x = G(z / scale + shift), with E the mean of the encoder's law (no noise is
    drawn) and, of a vector-quantised autoencoder, G with the quantisation, which gradients pass straight
    through. Both are differentiable. Kinds: ``AutoencoderKL``, ``VQModel``, ``AutoencoderTiny`` and others
    with ``encode`` and ``decode``.

    Raises:
        ValueError: a module that is no autoencoder, or whose scaling is by channel.
    """

    value_range = (-1.0, 1.0)

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        if not (hasattr(autoencoder, "encode") and hasattr(autoencoder, "decode")):
            raise ValueError(f"{type(autoencoder).__name__} is no autoencoder: it lacks encode or decode")
        config = autoencoder.config
        if config.get("latents_mean") is not None or config.get("latents_std") is not None:
            raise ValueError(
                f"{type(autoencoder).__name__} scales its latents by channel (latents_mean, latents_std), "
                "which is not known here"
            )
        self.autoencoder = autoencoder
        self.scale = float(config.get("scaling_factor") or 1.0)
        self.shift = float(config.get("shift_factor") or 0.0)

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.autoencoder.parameters()).dtype

    def decode(self, z: Tensor, cond: Condition | None = None) -> Tensor:
        """Pictures ``(B, C, H, W)`` of latents ``(B, c, h, w)``, not clamped, in z's dtype."""
        inner = (z / self.scale + self.shift).to(self._dtype)
        return self.autoencoder.decode(inner).sample.to(z.dtype)

    def encode(self, x: Tensor, cond: Condition | None = None) -> Tensor:
        """Latents ``(B, c, h, w)`` of pictures ``(B, C, H, W)`` in [-1, 1], in x's dtype."""
        found = self.autoencoder.encode(x.to(self._dtype))
        if hasattr(found, "latent_dist"):
            z = found.latent_dist.mode()
        else:
            z = found.latents
        return ((z - self.shift) * self.scale).to(x.dtype)

    def latent_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """(c, h, w) of pictures (C, H, W)."""
        with torch.no_grad():
            device = next(self.autoencoder.parameters()).device
            return tuple(self.encode(torch.zeros(1, *shape, device=device)).shape[1:])

    def forward(self, z: Tensor) -> Tensor:
        return self.decode(z)
