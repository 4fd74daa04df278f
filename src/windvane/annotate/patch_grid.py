"""Where the patches of dense features lie in an image."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PatchGrid:
    """Where patches lie in the image: patch (i, j) covers rows i * stride ... i * stride + size.

    Args:
        size: side of a patch in pixels.
        stride: distance of neighbouring patches; equal to ``size`` for a ViT, less for overlapping patches.
    """

    size: int
    stride: int

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.size:
            raise ValueError(f"a patch grid needs 1 <= stride <= size, got {self.stride} and {self.size}")

    def to_pixels(self, boxes: Tensor, shape: tuple[int, int]) -> Tensor:
        """Boxes in patches as boxes in pixels, clipped to the image ``(height, width)``.

        Each patch stands for the ``stride`` pixels at its centre, so overlapping patches do not swell a box;
        a patch at the border stands for the border pixels too.
        """
        height, width = shape
        margin = (self.size - self.stride) // 2
        left, top, right, bottom = boxes.unbind(1)
        lines, columns = self._count(height), self._count(width)
        out = torch.stack(
            [
                torch.where(left == 0, 0, left * self.stride + margin),
                torch.where(top == 0, 0, top * self.stride + margin),
                torch.where(right >= columns, width, right * self.stride + margin),
                torch.where(bottom >= lines, height, bottom * self.stride + margin),
            ],
            dim=1,
        )
        limit = torch.tensor([width, height, width, height], device=boxes.device)
        return torch.minimum(out.clamp(min=0), limit)

    def covered(self, patches: int) -> int:
        """How many pixels so many patches cover in a row."""
        return (patches - 1) * self.stride + self.size

    def _count(self, length: int) -> int:
        return (length - self.size) // self.stride + 1


def patch_counts(grid: PatchGrid, shape: tuple[int, int]) -> tuple[int, int]:
    """How many patches fit into an image ``(height, width)``, down and across.

    Raises:
        ValueError: the image is smaller than one patch.
    """
    if min(shape) < grid.size:
        raise ValueError(
            f"images of {shape[0]} x {shape[1]} are smaller than one patch of {grid.size} pixels"
        )
    return (shape[0] - grid.size) // grid.stride + 1, (shape[1] - grid.size) // grid.stride + 1
