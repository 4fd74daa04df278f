"""How many clusters? Evidence for each candidate, and a recommendation with its reasoning."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from windvane.annotate.images.clusters import Backend, Clusters
from windvane.annotate.images.statistics import MEMORISATION_BELOW, balance, mean_similarity
from windvane.progress import track
from windvane.randomness import generator

#: Below this adjusted mutual information between seeds, clusters are mostly an accident of the start.
STABLE_ABOVE = 0.5
#: Candidates for any data set, and those for more than 100,000 images.
_CANDIDATES, _MORE, _LARGE = (5, 10, 20, 30, 50, 100), (200, 400), 100_000
#: At most this share of the images may lie in clusters too small to be safe.
SHARE_IN_SMALL = 0.1


@dataclass(frozen=True)
class Candidate:
    """The evidence for one K.

    Attributes:
        k: the number of clusters.
        inertia: mean squared distance to the centre, falling in K.
        silhouette: mean silhouette of a sample, in [-1, 1]; None for K = 1.
        per_cluster: mean images per cluster.
        balance: see :func:`windvane.annotate.images.statistics.balance`.
        stability: mean ``ami``, ``ari`` over pairs of seeds and ``ami_lowest``.
        warnings: what speaks against this K.
    """

    k: int
    inertia: float
    silhouette: float | None
    per_cluster: float
    balance: dict[str, Any]
    stability: dict[str, float]
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ChoiceOfK:
    """Candidates in rising K, the recommended one and why."""

    candidates: list[Candidate]
    recommended: int
    reasoning: str

    @property
    def chosen(self) -> Candidate:
        """The evidence for the recommended K."""
        return next(row for row in self.candidates if row.k == self.recommended)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a report."""
        rows = [vars(candidate) for candidate in self.candidates]
        return {"candidates": rows, "recommended": self.recommended, "reasoning": self.reasoning}


def candidates(n: int) -> list[int]:
    """Numbers of clusters worth a try for ``n`` images: with 10 images a cluster or more, and at most 100, or
    400 above 100,000 images, so that the time to choose one grows no faster than the number of images.

    >>> candidates(600)
    [5, 10, 20, 30, 50]
    """
    known = _CANDIDATES + (_MORE if n > _LARGE else ())
    return [k for k in known if 10 * k <= n] or [1]


def choose_k(
    features: Tensor,
    ks: Sequence[int],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    sample: int = 2000,
    most: int = 4000,
    backend: Backend = "auto",
    progress: bool = True,
) -> ChoiceOfK:
    """Compare numbers of clusters on features ``(n, D)``.

    Recommended is the largest K that is safe: at least 20 images a cluster on average, at most a tenth of
    the images in clusters smaller than that, and mean adjusted mutual information between seeds of at
    least 0.5. Larger is better up to there, because the quality of guided samples rises with K as published
    (Self-Guided Diffusion Models, arXiv 2210.06462) until clusters are so small that samples copy their
    few members; silhouette and agreement with labels do not predict that quality (arXiv 2403.00570), so
    they are shown and not used.

    Args:
        features: of the training images.
        ks: candidates.
        seeds: two or more, for stability.
        sample: images used for the silhouette.
        most: of more images as many are drawn to learn the centres from, or 20 a cluster if that is more;
            inertia and sizes are those of all images.
        backend: of k-means, see :class:`Clusters`.
        progress: show a bar.

    Raises:
        ValueError: no candidates, fewer than two seeds, or a K that is larger than n.
    """
    wanted = sorted(set(ks))
    if not wanted or len(set(seeds)) < 2:
        raise ValueError(f"need at least one K and two different seeds, got {list(ks)} and {list(seeds)}")
    if wanted[0] < 1 or wanted[-1] > len(features):
        raise ValueError(f"K must lie in 1..{len(features)} (the number of images), got {wanted}")
    rows = [
        _candidate(features, k, seeds, sample, most, backend)
        for k in track(wanted, "choosing the clusters", enabled=progress)
    ]
    safe = [row for row in rows if not row.warnings]
    best = safe[-1] if safe else rows[0]
    return ChoiceOfK(rows, best.k, _reasoning(rows, best, bool(safe)))


def _candidate(
    features: Tensor, k: int, seeds: Sequence[int], sample: int, most: int, backend: Backend
) -> Candidate:
    n, most = len(features), max(most, 20 * k)
    learnt = features
    if n > most:
        learnt = features[torch.randperm(n, generator=generator(0, 10))[:most].sort().values]
    fits = [Clusters(k, seed=seed, restarts=1, backend=backend).fit(learnt) for seed in seeds]
    assigned = [fit.assign(learnt) for fit in fits]
    inertias = [fit.inertia(learnt) for fit in fits]
    best = min(range(len(fits)), key=lambda i: inertias[i])
    ids = fits[best].assign(features) if n > most else assigned[best]
    inertia = fits[best].inertia(features) if n > most else inertias[best]
    sizes, stable = balance(ids, k), mean_similarity(assigned)
    notes = []
    if n / k < MEMORISATION_BELOW:
        notes.append(
            f"{n // k} images a cluster: below {MEMORISATION_BELOW}, samples come close to training images"
        )
    elif sizes["images_in_small"] > SHARE_IN_SMALL:
        notes.append(
            f"{sizes['images_in_small']:.0%} of the images lie in clusters of fewer than {MEMORISATION_BELOW}"
        )
    if stable["ami"] < STABLE_ABOVE:
        notes.append(f"unstable: mutual information between seeds {stable['ami']:.2f} < {STABLE_ABOVE}")
    return Candidate(
        k=k,
        inertia=inertia / n,
        silhouette=_silhouette(fits[best].prepared(features), ids, sample),
        per_cluster=n / k,
        balance=sizes,
        stability=stable,
        warnings=notes,
    )


def _silhouette(rows: Tensor, ids: Tensor, sample: int) -> float | None:
    chosen = torch.randperm(len(rows), generator=generator(0, 4))[:sample]
    groups = len(torch.unique(ids[chosen]))
    if not 2 <= groups < len(chosen):
        return None
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(rows[chosen].numpy(), ids[chosen].numpy()))


def _reasoning(rows: list[Candidate], best: Candidate, safe: bool) -> str:
    if safe:
        head = (
            f"K = {best.k} is the largest candidate with enough images a cluster ({best.per_cluster:.0f} on "
            f"average) and clusters that come back from other seeds (mutual information "
            f"{best.stability['ami']:.2f})."
        )
    else:
        head = (
            f"No candidate is safe; K = {best.k}, the smallest, does least harm. More images, or a smaller "
            "K, would help."
        )
    against = [f"K = {row.k}: {'; '.join(row.warnings)}." for row in rows if row.warnings]
    tail = (
        f"Larger K than {rows[-1].k} were not tried. Smaller K says less about an image and steers less; "
        "silhouette and labels were not used."
    )
    return " ".join([head, *against, tail])
