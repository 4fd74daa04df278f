"""What can be said about a clustering: sizes, stability over seeds, agreement with labels."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from windvane.annotate.images.clusters import Backend, Clusters, checked_ids
from windvane.annotate.images.contingency import contingency, normalised_information, rand_index
from windvane.progress import track
from windvane.randomness import generator

#: Below this many images a cluster, samples come closer to training images than held-out images do
#: (measured on the handwritten digits at 12 a cluster).
MEMORISATION_BELOW = 20


def balance(ids: Tensor, k: int) -> dict[str, Any]:
    """Sizes of clusters and how even they are.

    ``entropy`` is H(p) / log k in [0, 1] (1 = all alike), ``effective`` is exp H(p), the number of equal
    clusters with the same entropy, ``small`` counts the clusters below 20 images, ``images_in_small`` the
    share of images in them.

    Args:
        ids: ``(n,)`` in 0..k-1.
        k: the number of clusters.
    """
    sizes = torch.bincount(checked_ids(ids, k), minlength=k)
    n = max(len(ids), 1)
    shares = sizes[sizes > 0].double() / n
    entropy = float(-(shares * shares.log()).sum())
    small = sizes < MEMORISATION_BELOW
    return {
        "k": k,
        "n": len(ids),
        "sizes": sizes.tolist(),
        "smallest": int(sizes.min()),
        "median": float(sizes.double().median()),
        "largest": int(sizes.max()),
        "empty": int((sizes == 0).sum()),
        "entropy": entropy / float(torch.tensor(float(k)).log()) if k > 1 else 1.0,
        "effective": float(torch.tensor(entropy).exp()),
        "small": int(small.sum()),
        "images_in_small": float(sizes[small].sum()) / n,
    }


def similarity(first: Tensor, second: Tensor) -> dict[str, float]:
    """How alike two assignments of the same images are: adjusted mutual information, adjusted Rand index.

    Both are 1 for equal partitions, whatever the numbering, and 0 on average for independent ones.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    return {
        "ami": float(adjusted_mutual_info_score(first.numpy(), second.numpy())),
        "ari": rand_index(contingency(first, second)),
    }


def stability(
    features: Tensor,
    k: int,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    restarts: int = 1,
    backend: Backend = "auto",
    most: int = 100_000,
    progress: bool = False,
) -> dict[str, Any]:
    """Cluster the same features once for each seed and compare all pairs of assignments.

    Args:
        features: ``(n, D)``.
        k: the number of clusters.
        seeds: two or more.
        restarts: initialisations a seed; 1 shows what a single start can do.
        backend: of k-means, see :class:`Clusters`.
        most: of more vectors as many are drawn, the same for every seed, or 20 a cluster if that is more.
        progress: show a bar.
    """
    if len(seeds) < 2:
        raise ValueError(f"stability compares at least two seeds, got {list(seeds)}")
    most = max(most, 20 * k)
    if len(features) > most:
        features = features[torch.randperm(len(features), generator=generator(0, 10))[:most].sort().values]
    found = []
    for seed in track(seeds, f"stability at k={k}", enabled=progress):
        clusters = Clusters(k, seed=seed, restarts=restarts, backend=backend)
        found.append(clusters.fit(features).assign(features))
    return {"k": k, "seeds": list(seeds), **mean_similarity(found)}


def mean_similarity(assignments: Sequence[Tensor]) -> dict[str, float]:
    """The mean of :func:`similarity` over all pairs, and the lowest."""
    pairs = [similarity(a, b) for a, b in combinations(assignments, 2)]
    return {
        "ami": sum(p["ami"] for p in pairs) / len(pairs),
        "ari": sum(p["ari"] for p in pairs) / len(pairs),
        "ami_lowest": min(p["ami"] for p in pairs),
    }


def agreement(ids: Tensor, labels: Tensor) -> dict[str, float]:
    """How ids ``(n,)`` agree with labels ``(n,)``; rows with a negative label have none and are left out.

    ``nmi`` is mutual information over the mean of the two entropies; ``purity`` the share of images whose
    label is the most frequent one of their cluster (it grows with the number of clusters); ``ari`` the
    adjusted Rand index; ``rows`` the images compared.
    """
    if ids.shape != labels.shape:
        raise ValueError(f"{len(ids)} ids, but {len(labels)} labels")
    known = labels >= 0
    ids, labels = ids[known], labels[known]
    if not len(ids):
        raise ValueError("no image has a label")
    table = contingency(labels, ids)
    return {
        "nmi": normalised_information(table),
        "purity": float(table.amax(dim=0).sum() / table.sum()),
        "ari": rand_index(table),
        "rows": float(len(ids)),
    }
