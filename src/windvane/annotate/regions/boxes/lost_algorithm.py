"""LOST: one object per image by expanding a seed among patch similarities, without labels."""

from typing import NamedTuple

import torch
from torch import Tensor

from windvane.annotate.regions.boxes.components import bounding_boxes, component_of

#: Similarities of patches take at most so much memory at a time.
BYTES = 1 << 29
#: Bytes for each pair of patches: a float, a bool and what summing takes.
_PAIR = 8


class Regions(NamedTuple):
    """What a method found in patch coordinates.

    Args:
        boxes: int64 ``(B, 4)``, (left, top, right, bottom) in patches, right and bottom exclusive.
        masks: bool ``(B, h, w)``, the patches of the object.
        seeds: flat index of the seed patch, int64 ``(B,)``.
    """

    boxes: Tensor
    masks: Tensor
    seeds: Tensor


def lost(features: Tensor, *, patches: int = 100, centre: bool = False) -> Regions:
    """Seed expansion on patch features.

    With A = F F^T: the seed is the patch with the fewest positive correlations to others (an object is
    smaller than its background); among the ``patches`` patches with fewest, those that correlate positively
    with the seed vote, M_p = sum_q A_qp; the object is the 4-connected component of M > 0 that holds the
    seed. Simeoni et al. 2021, arXiv 2109.14279, as used by Self-Guided Diffusion Models (2210.06462).

    Args:
        features: ``(B, D, h, w)``; for DINO the keys of the last layer, heads concatenated.
        patches: how many patches of lowest degree may vote.
        centre: subtract each image's mean patch first; raw pixels, which have no negative correlations,
            need it.

    Raises:
        ValueError: features of another rank, not finite, or fewer than one voting patch.
    """
    if features.ndim != 4 or not torch.isfinite(features).all():
        raise ValueError(f"LOST needs finite features (B, D, h, w), got shape {tuple(features.shape)}")
    if patches < 1:
        raise ValueError(f"patches must be at least 1, got {patches}")
    _, _, height, width = features.shape
    flat = features.flatten(2).transpose(1, 2)
    if centre:
        flat = flat - flat.mean(dim=1, keepdim=True)
    degree = _degrees(flat)
    order = degree.argsort(dim=1, stable=True)
    seeds = order[:, 0]
    voters = _rows(flat, order[:, :patches])
    agrees = voters @ _rows(flat, seeds[:, None]).transpose(1, 2) > 0
    # sum_q A_qp = (sum_q F_q) . F_p
    votes = flat @ (voters * agrees).sum(dim=1)[:, :, None]
    masks = component_of((votes > 0).reshape(-1, height, width), seeds)
    return Regions(bounding_boxes(masks), masks, seeds)


def _rows(vectors: Tensor, chosen: Tensor) -> Tensor:
    """Vectors ``(B, m, D)`` at positions ``(B, m)`` of ``(B, N, D)``."""
    return vectors.gather(1, chosen[:, :, None].expand(-1, -1, vectors.shape[2]))


def _degrees(flat: Tensor) -> Tensor:
    """How many other patches each patch correlates with positively, ``(B, N)``.

    Of the N^2 similarities an image only as many rows are held as fit into ``BYTES``.
    """
    rows = max(1, BYTES // (_PAIR * len(flat) * flat.shape[1]))
    found = [(part @ flat.transpose(1, 2) > 0).sum(dim=2) for part in flat.split(rows, dim=1)]
    itself = flat.square().sum(dim=2) > 0
    return torch.cat(found, dim=1) - itself.long()
