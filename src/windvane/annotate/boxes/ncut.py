"""TokenCut: one object per image by a normalised cut of the patch graph, without labels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from windvane.annotate.boxes.components import bounding_boxes, component_of
from windvane.annotate.boxes.lost import Regions


def normalised_cut(
    features: Tensor, *, threshold: float = 0.2, weak: float = 1e-5, centre: bool = False
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

    Raises:
        ValueError: features of another rank or not finite.
    """
    if features.ndim != 4 or not torch.isfinite(features).all():
        raise ValueError(f"a cut needs finite features (B, D, h, w), got shape {tuple(features.shape)}")
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
    masks = component_of(side.reshape(rows, height, width), seeds)
    return Regions(bounding_boxes(masks), masks, seeds)
