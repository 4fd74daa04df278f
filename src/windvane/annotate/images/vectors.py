"""Real-valued conditions: the feature itself, its centroid, its neighbours' mean, label and cluster together.

The continuous variants of Self-Guided Diffusion Models (Hu et al. 2023, arXiv 2210.06462), as in its code.
All are vectors ``(n, K)`` for ``Condition.vector``; a network made for K numbers takes them in place of ids.
Features are used as k-means sees them, by default of unit length, which is also the length of a one-hot id.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from windvane.annotate.images.clusters import Clusters, checked_ids


def feature_vectors(features: Tensor, clusters: Clusters | None = None) -> Tensor:
    """The raw feature of each image, ``(n, D)``: nothing is clustered, and nothing shared between images.

    Args:
        features: ``(n, D)``.
        clusters: prepare them as these do; None scales them to unit length.
    """
    return (clusters or Clusters(1)).prepared(features)


def centroid_vectors(ids: Tensor, clusters: Clusters) -> Tensor:
    """The centre of each image's cluster, ``(n, D)``: as much as its id says, with distances between ids."""
    return clusters.centres[checked_ids(ids, clusters.k)]


def neighbour_vectors(features: Tensor, *, neighbours: int = 10, clusters: Clusters | None = None) -> Tensor:
    """The mean of the nearest other images' features, ``(n, D)``: a centroid without borders.

    Args:
        features: ``(n, D)``.
        neighbours: how many; the image itself is not one of them.
        clusters: prepare features as these do; None scales them to unit length.

    Raises:
        ValueError: fewer other images than neighbours.
    """
    from windvane.metrics.distances import nearest

    rows = feature_vectors(features, clusters)
    if not 1 <= neighbours < len(rows):
        raise ValueError(
            f"neighbours must lie in 1..{len(rows) - 1} for {len(rows)} images, got {neighbours}"
        )
    found = nearest(rows, rows, k=neighbours, itself=True).indices
    mean = torch.zeros_like(rows)
    for place in range(neighbours):  # one neighbour at a time: n x D numbers, not n x neighbours x D
        mean += rows[found[:, place]]
    return mean / neighbours


def label_and_cluster(labels: Tensor, ids: Tensor, *, classes: int, k: int) -> Tensor:
    """One-hot label and one-hot cluster side by side, float32 ``(n, classes + k)``.

    A row without a label (-1) has zeros there.

    Args:
        labels: ``(n,)`` in -1..classes-1.
        ids: ``(n,)`` in 0..k-1.
        classes: the number of labels.
        k: the number of clusters.

    Raises:
        ValueError: another number of labels than ids, or values out of range.
    """
    if labels.shape != ids.shape:
        raise ValueError(f"{len(ids)} ids, but {len(labels)} labels")
    given = checked_ids(labels + 1, classes + 1)
    first = F.one_hot(given, classes + 1)[:, 1:]
    return torch.cat([first, F.one_hot(checked_ids(ids, k), k)], dim=1).float()
