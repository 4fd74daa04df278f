"""From patches to pixels, and boxes as masks."""

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


def box_masks(boxes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Boxes ``(B, 4)`` as float masks ``(B, 1, height, width)``: 1 inside, 0 outside.

    Raises:
        ValueError: a box that is empty or leaves the image.
    """
    height, width = shape
    left, top, right, bottom = boxes.unbind(1)
    bad = (left < 0) | (top < 0) | (right > width) | (bottom > height) | (left >= right) | (top >= bottom)
    if bool(bad.any()):
        first = int(bad.int().argmax())
        raise ValueError(
            f"box {first} is {boxes[first].tolist()} (left, top, right, bottom); an image of "
            f"{height} x {width} needs 0 <= left < right <= width and 0 <= top < bottom <= height"
        )
    y = torch.arange(height, device=boxes.device)[None, :, None]
    x = torch.arange(width, device=boxes.device)[None, None, :]
    inside = (x >= left[:, None, None]) & (x < right[:, None, None])
    inside = inside & (y >= top[:, None, None]) & (y < bottom[:, None, None])
    return inside[:, None].float()


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of box i with box i, ``(B,)``."""
    corner = torch.maximum(boxes[:, :2], others[:, :2])
    far = torch.minimum(boxes[:, 2:], others[:, 2:])
    common = (far - corner).clamp(min=0).double().prod(dim=1)
    areas = [(b[:, 2:] - b[:, :2]).double().prod(dim=1) for b in (boxes, others)]
    return common / (areas[0] + areas[1] - common)


def corloc(boxes: Tensor, others: list[Tensor], *, threshold: float = 0.5) -> float:
    """CorLoc: the share of images whose box has IoU >= ``threshold`` with some true box ``(m_i, 4)``."""
    hits = [
        bool((iou(box.expand(len(true), 4), true) >= threshold).any()) for box, true in zip(boxes, others)
    ]
    return sum(hits) / max(len(hits), 1)
