"""Precision, recall, density and coverage from k-nearest-neighbour balls."""

import torch
from torch import Tensor

from windvane.metrics.bootstrap import Interval, mean_interval, proportion_interval
from windvane.metrics.distances import blocks, nearest
from windvane.metrics.features import checked_features
from windvane.metrics.result import Metric

#: The four metrics in the order in which `manifold` returns them.
MANIFOLD = ("precision", "recall", "density", "coverage")

# Distances within this factor of a radius count as on the sphere, which is outside: a copy of a reference
# image lies exactly on the ball of the image whose k-th neighbour it copies, and rounding must not decide.
_INSIDE = 1 - 1e-9


def manifold(
    features: Tensor,
    reference: Tensor,
    *,
    k: int = 5,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Metric]:
    """Precision, recall, density and coverage of ``features`` y (n, D) against ``reference`` x (m, D).

    With B(p) the open ball around p that reaches to the k-th nearest *other* row of p's own set:

        precision = mean_j [y_j in some B(x_i)]            recall   = mean_i [x_i in some B(y_j)]
        density   = mean_j #{i : y_j in B(x_i)} / k        coverage = mean_i [some y_j in B(x_i)]

    Kynkäänniemi et al. (2019), "Improved Precision and Recall Metric", eqs. 1-3; Naeem et al. (2020),
    "Reliable Fidelity and Diversity Metrics", eqs. 3-5. Open balls as in the latter's code; the former
    writes closed ones, which differs for ties only. All four depend on n, m and k; coverage and density do
    not suffer from outliers among the samples as recall does. Density of a set against itself is 1, and may
    exceed 1.

    Intervals hold the balls fixed: Wilson's for the three shares, bootstrap for density.

    Raises:
        ValueError: wrong shapes, non-finite rows, or a set of no more than k rows.
    """
    rows = checked_features(features, name="sample features").detach().to("cpu", torch.float64)
    others = checked_features(reference, name="reference features").detach().to("cpu", torch.float64)
    if rows.shape[1] != others.shape[1]:
        raise ValueError(f"samples have {rows.shape[1]} features, the reference has {others.shape[1]}")
    if k < 1 or min(len(rows), len(others)) <= k:
        raise ValueError(
            f"k={k} neighbours need more than k rows in each set, got {len(rows)} samples and "
            f"{len(others)} references"
        )
    centre = others.mean(0)
    rows, others = rows - centre, others - centre
    reach = nearest(rows, rows, k=k, itself=True).distances[:, -1].square() * _INSIDE
    other_reach = nearest(others, others, k=k, itself=True).distances[:, -1].square() * _INSIDE
    balls = torch.zeros(len(rows), dtype=torch.float64)
    reached = torch.zeros(len(others), dtype=torch.bool)
    covered = torch.zeros(len(others), dtype=torch.bool)
    for part, squared in blocks(rows, others):
        inside = squared < other_reach
        balls[part] = inside.sum(1).double()
        covered |= inside.any(0)
        reached |= (squared < reach[part].unsqueeze(1)).any(0)

    def share(hits: Tensor) -> Interval:
        return proportion_interval(hits, level=level)

    density = balls / k
    if resamples:
        spread = mean_interval(density, resamples=resamples, level=level, seed=seed)
    else:
        spread = Interval(density.mean().item(), torch.nan, torch.nan)
    intervals = (share(balls > 0), share(reached), spread, share(covered))
    kinds = ("Wilson's", "Wilson's", f"bootstrap, {resamples} draws", "Wilson's")
    return [
        Metric(
            name=name,
            value=interval.value,
            better="higher",
            low=interval.low if resamples else None,
            high=interval.high if resamples else None,
            level=level,
            n_samples=len(rows),
            n_reference=len(others),
            settings={"k": k},
            details={"interval": f"{kind}, neighbourhoods held fixed"} if resamples else {},
        )
        for name, interval, kind in zip(MANIFOLD, intervals, kinds)
    ]
