"""The small dense network of :class:`Restoration`."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DenseNet(nn.Module):
    """A small U-Net without normalisation: features at full resolution that see a wide context.

    Without normalisation the features of a position depend on its receptive field alone.

    Args:
        channels: of the images.
        width: channels of the stem; every level below has twice as many as the stem.
        levels: halvings.
        blocks: residual convolutions at the lowest level.
    """

    def __init__(self, channels: int, *, width: int, levels: int, blocks: int = 3) -> None:
        super().__init__()
        wide = 2 * width
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList(
            [nn.Conv2d(width if i == 0 else wide, wide, 3, stride=2, padding=1) for i in range(levels)]
        )
        self.blocks = nn.ModuleList([nn.Conv2d(wide, wide, 3, padding=1) for _ in range(blocks)])
        self.up = nn.ModuleList(
            [nn.Conv2d(wide + (width if i == 0 else wide), wide, 3, padding=1) for i in range(levels)]
        )
        self.out = nn.Conv2d(wide, channels, 1)

    def maps(self, images: Tensor) -> Tensor:
        """Features ``(B, 2 * width, H, W)`` of images ``(B, C, H, W)``."""
        x = F.silu(self.stem(images))
        kept = []
        for layer in self.down:
            kept.append(x)
            x = F.silu(layer(x))
        for layer in self.blocks:
            x = x + F.silu(layer(x))
        for layer, skip in zip(reversed(self.up), reversed(kept)):
            x = F.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = F.silu(layer(torch.cat([skip, x], dim=1)))
        return x

    def forward(self, images: Tensor) -> Tensor:
        return self.out(self.maps(images))
