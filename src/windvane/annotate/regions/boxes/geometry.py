"""Boxes as masks, and how far two boxes agree."""

import torch
from torch import Tensor


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
