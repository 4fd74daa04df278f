"""Connected components and bounding boxes of patch masks, for a whole batch at once."""

import torch
from torch import Tensor


def component_of(masks: Tensor, seeds: Tensor) -> Tensor:
    """The 4-connected component of each mask that holds the seed.

    Args:
        masks: bool ``(B, h, w)``.
        seeds: flat index of a cell, int64 ``(B,)``; the seed belongs to its component whatever the mask says.

    Returns:
        bool ``(B, h, w)``.
    """
    rows, height, width = masks.shape
    found = torch.zeros(rows, height * width, dtype=torch.bool, device=masks.device)
    found = found.scatter(1, seeds[:, None], True).reshape(masks.shape)
    allowed = masks | found
    while True:
        grown = found.clone()
        grown[:, 1:] |= found[:, :-1]
        grown[:, :-1] |= found[:, 1:]
        grown[:, :, 1:] |= found[:, :, :-1]
        grown[:, :, :-1] |= found[:, :, 1:]
        grown &= allowed
        if torch.equal(grown, found):
            return found
        found = grown


def bounding_boxes(masks: Tensor) -> Tensor:
    """The smallest rectangle round the true cells: int64 ``(B, 4)`` as (left, top, right, bottom).

    Right and bottom are exclusive. Every mask needs a true cell.
    """
    _, height, width = masks.shape
    columns, lines = masks.any(dim=1), masks.any(dim=2)
    if not bool(columns.any(dim=1).all()):
        raise ValueError("a mask without a single true cell has no bounding box")
    left, top = columns.int().argmax(dim=1), lines.int().argmax(dim=1)
    right = width - columns.flip(1).int().argmax(dim=1)
    bottom = height - lines.flip(1).int().argmax(dim=1)
    return torch.stack([left, top, right, bottom], dim=1)
