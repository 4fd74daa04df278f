"""Dense features of the image-level self-supervised encoder: the maps inside it."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from windvane.annotate.dense.inner_maps import InnerMaps
from windvane.annotate.features.extractor import beside
from windvane.annotate.features.selfsup import SelfSup

#: By default the maps have at least so many patches along the short side.
_PATCHES = 8


class EncoderMaps(InnerMaps):
    """Maps inside a trained :class:`windvane.annotate.SelfSup` encoder.

    Level 0 is the stem, level l the residual block after the l-th halving. A halving convolution looks
    round the first pixel of its cell, which adds up to (stride - 1) / 2 pixels; the image is moved by as
    much, so that each position sees what lies round the centre of its cell.

    Args:
        features: a fitted encoder.
        level: which maps; None takes the deepest with at least 8 patches along the short side.

    Raises:
        ValueError: an encoder that is not fitted, or a level it does not have.
    """

    kind = "encoder-maps"

    def __init__(self, features: SelfSup, *, level: int | None = None) -> None:
        encoder = features.trained()
        if features.shape is None:
            raise ValueError("the encoder does not know the shape of its images; fit it first")
        self.features, self.shape = features, features.shape
        parts = list(encoder.trunk)
        blocks = [i for i, part in enumerate(parts) if not _is_plain(part)]
        ends, strides = [0, *blocks], [_stride(parts[0])]
        for _ in blocks:
            strides.append(2 * strides[-1])
        if level is None:
            fits = [i for i, s in enumerate(strides) if min(self.shape[-2:]) // s >= _PATCHES]
            level = fits[-1] if fits else 0
        if not 0 <= level < len(ends):
            raise ValueError(f"level must lie in 0..{len(ends) - 1}, got {level}")
        self.level, self._stride = level, strides[level]
        self._layers = nn.Sequential(*parts[: ends[level] + 1])
        with torch.no_grad():
            size = 2 * self._stride
            device = next(encoder.parameters()).device
            self._dim = self._layers(torch.zeros(1, self.shape[0], size, size, device=device)).shape[1]

    @property
    def name(self) -> str:
        """The version: the encoder's and the level."""
        return f"maps(level={self.level}):{self.features.name}"

    def settings(self) -> dict[str, Any]:
        """What rebuilds this extractor, besides its state."""
        return {"level": self.level, "encoder": self.features.settings()}

    def state(self) -> dict[str, Tensor]:
        """The encoder's weights."""
        return self.features.state()

    @classmethod
    def restore(cls, settings: Mapping[str, Any], state: Mapping[str, Tensor]) -> Self:
        """The extractor that ``settings`` and ``state`` came from.

        Raises:
            ValueError: weights that do not fit the settings.
        """
        return cls(SelfSup.restore(settings["encoder"], state), level=settings["level"])

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, dim, h, w)`` of images ``(B, C, H, W)``; differentiable.

        Raises:
            ValueError: images with another number of channels than those it was trained on.
        """
        if images.shape[1] != self.shape[0]:
            raise ValueError(f"trained on images of shape {self.shape}, got {tuple(images.shape[1:])}")
        x = beside(images, self._layers)
        lines, columns = (n // self._stride for n in x.shape[-2:])
        shift = (self._stride - 1) // 2
        if shift:
            x = nn.functional.pad(x, (0, shift, 0, shift), mode="replicate")[:, :, shift:, shift:]
        return self._layers(x)[:, :, :lines, :columns]


def _is_plain(part: nn.Module) -> bool:
    """Whether a layer of the trunk is no residual block."""
    return isinstance(part, nn.Conv2d | nn.GroupNorm | nn.SiLU)


def _stride(part: nn.Module) -> int:
    return part.stride[0] if isinstance(part, nn.Conv2d) else 1
