"""The pixels of every patch as its features."""

from collections.abc import Mapping
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor

from windvane.annotate.features.extractor import version
from windvane.annotate.patch_grid import PatchGrid
from windvane.arguments import attributes


class Patches:
    """Raw patches: the ``size`` x ``size`` pixels of each, side by side, channel by channel.

    Args:
        size: side of a patch in pixels.
        stride: distance of neighbouring patches in pixels.
        channels: of the images.
        centre: subtract each image's mean patch; methods that look at the sign of correlations need it.
        pad: reflect the border, so that every cell of ``stride`` x ``stride`` pixels has a patch about its
            centre; without it only patches that lie wholly inside the image count, and a small object at the
            border is seen by few of them.
    """

    kind = "patches"

    def __init__(
        self, size: int = 3, stride: int = 1, *, channels: int = 1, centre: bool = False, pad: bool = True
    ) -> None:
        self._inner = PatchGrid(size, stride)
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}")
        self.size, self.stride, self.channels = size, stride, channels
        self.centre, self.pad = centre, pad

    @property
    def name(self) -> str:
        """The version of these features: their settings."""
        return version(self.kind, self.settings())

    def settings(self) -> dict[str, Any]:
        """What rebuilds this extractor."""
        return attributes(self, "size", "stride", "channels", "centre", "pad")

    def state(self) -> dict[str, Tensor]:
        """Nothing was learnt."""
        return {}

    @classmethod
    def restore(cls, settings: Mapping[str, Any], state: Mapping[str, Tensor]) -> Self:
        """The extractor that ``settings`` came from."""
        return cls(**settings)

    @property
    def dim(self) -> int:
        """Values in one patch."""
        return self.channels * self.size**2

    @property
    def grid(self) -> PatchGrid:
        """Where the patches lie; padded ones stand for one cell each."""
        return PatchGrid(self.stride, self.stride) if self.pad else self._inner

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, channels * size^2, h, w)`` of images ``(B, channels, H, W)``; differentiable.

        Raises:
            ValueError: images with another number of channels, or smaller than a patch.
        """
        height, width = images.shape[-2:]
        if images.shape[1] != self.channels or min(height, width) < self.size:
            raise ValueError(
                f"patches of {self.size} pixels in {self.channels} channels cannot be cut from images of "
                f"shape {tuple(images.shape[1:])}"
            )
        margin = self.size - self.stride
        if self.pad and margin:
            before = margin // 2
            images = F.pad(images, (before, margin - before) * 2, mode="reflect")
        lines, columns = ((n - self.size) // self.stride + 1 for n in images.shape[-2:])
        columns_of_values = F.unfold(images, self.size, stride=self.stride)
        maps = columns_of_values.reshape(len(images), self.dim, lines, columns)
        return maps - maps.mean(dim=(2, 3), keepdim=True) if self.centre else maps
