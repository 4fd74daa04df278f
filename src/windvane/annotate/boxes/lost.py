"""LOST: one object per image by expanding a seed among patch similarities, without labels."""

from typing import NamedTuple

import torch
from torch import Tensor

from windvane.annotate.boxes.components import bounding_boxes, component_of


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
    rows, _, height, width = features.shape
    flat = features.flatten(2).transpose(1, 2)
    if centre:
        flat = flat - flat.mean(dim=1, keepdim=True)
    similarity = flat @ flat.transpose(1, 2)
    count = height * width
    positive = similarity > 0
    degree = positive.sum(dim=2) - positive.diagonal(dim1=1, dim2=2).long()
    order = degree.argsort(dim=1, stable=True)
    seeds = order[:, 0]
    voters = order[:, : min(patches, count)]
    to_seed = similarity.gather(1, seeds[:, None, None].expand(rows, 1, count))[:, 0]
    agrees = to_seed.gather(1, voters) > 0
    votes = similarity.gather(1, voters[:, :, None].expand(rows, voters.shape[1], count))
    votes = (votes * agrees[:, :, None]).sum(dim=1)
    masks = component_of((votes > 0).reshape(rows, height, width), seeds)
    return Regions(bounding_boxes(masks), masks, seeds)
