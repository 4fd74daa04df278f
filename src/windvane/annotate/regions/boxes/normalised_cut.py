"""TokenCut: one object per image by a normalised cut of the patch graph, without labels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from windvane.annotate.regions.boxes.components import bounding_boxes, component_of
from windvane.annotate.regions.boxes.lost_algorithm import Regions


def normalised_cut(
    features: Tensor,
    *,
    threshold: float = 0.2,
    weak: float = 1e-5,
    centre: bool = False,
    most: int = 1024,
) -> Regions:
    """The foreground side of the normalised cut of a thresholded similarity graph.

    Edges E_ij = 1 where the cosine of patches i and j exceeds ``threshold`` and ``weak`` elsewhere; with
    D = diag(sum_j E_ij), y is the second smallest generalised eigenvector of (D - E) y = l D y. Patches
    above the mean of y form one side; the foreground is the side with the largest |y|, which is also the
    seed; the object is its 4-connected component. Wang et al. 2022 (TokenCut), arXiv 2202.11539, section 3.

    Args:
        features: ``(B, D, h, w)``.
        threshold: cosine above which two patches are joined.
        weak: weight of all other edges; keeps the graph connected.
        centre: subtract each image's mean patch first.
        most: of more patches, squares are averaged to one until at most so many are left: the eigenvectors of
            N patches take some N^3 steps and N^2 numbers. A patch of the result then belongs to the object if
            its square does.

    Raises:
        ValueError: features of another rank or not finite, or ``most`` below 1.
    """
    if features.ndim != 4 or not torch.isfinite(features).all():
        raise ValueError(f"a cut needs finite features (B, D, h, w), got shape {tuple(features.shape)}")
    if most < 1:
        raise ValueError(f"most must be at least 1, got {most}")
    height, width = features.shape[-2:]
    side = _side(height, width, most)
    if side > 1:
        coarse = F.avg_pool2d(features, side, ceil_mode=True, count_include_pad=False)
        masks, seeds = _split(coarse, threshold, weak, centre)
        line, column = (seeds // coarse.shape[3]) * side, (seeds % coarse.shape[3]) * side
        masks = masks.repeat_interleave(side, dim=1).repeat_interleave(side, dim=2)[:, :height, :width]
        seeds = line * width + column
    else:
        masks, seeds = _split(features, threshold, weak, centre)
    return Regions(bounding_boxes(masks), masks, seeds)


def _side(height: int, width: int, most: int) -> int:
    """The side of the squares of patches to average so that at most ``most`` are left."""
    side = 1
    while -(-height // side) * -(-width // side) > most:
        side += 1
    return side


def _split(features: Tensor, threshold: float, weak: float, centre: bool) -> tuple[Tensor, Tensor]:
    """Masks ``(B, h, w)`` and seeds ``(B,)`` of :func:`normalised_cut`."""
    rows, _, height, width = features.shape
    flat = features.flatten(2).transpose(1, 2).double()
    if centre:
        flat = flat - flat.mean(dim=1, keepdim=True)
    flat = F.normalize(flat, dim=2)
    edges = torch.where(flat @ flat.transpose(1, 2) > threshold, 1.0, weak).double()
    scale = edges.sum(dim=2).rsqrt()
    # The symmetric form D^-1/2 E D^-1/2 has the same spectrum, turned round; its largest vector is trivial.
    vectors = torch.linalg.eigh(scale[:, :, None] * edges * scale[:, None, :]).eigenvectors
    second = vectors[:, :, -2] * scale
    seeds = second.abs().argmax(dim=1)
    above = second > second.mean(dim=1, keepdim=True)
    side = above == above.gather(1, seeds[:, None])
    return component_of(side.reshape(rows, height, width), seeds), seeds
