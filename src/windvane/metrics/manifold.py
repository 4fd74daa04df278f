"""Precision, recall, density and coverage from k-nearest-neighbour balls."""

import torch
from torch import Tensor

from windvane.metrics.bootstrap import Interval, mean_interval, proportion_interval
from windvane.metrics.distances import blocks, compare, middle, nearest, screened
from windvane.metrics.features import double_features
from windvane.metrics.result import Metric

#: The four metrics in the order in which `manifold` returns them.
MANIFOLD = ("precision", "recall", "density", "coverage")


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

    With B(p) the closed ball around p that reaches to the k-th nearest *other* row of p's own set:

        precision = mean_j [y_j in some B(x_i)]            recall   = mean_i [x_i in some B(y_j)]
        density   = mean_j #{i : y_j in B'(x_i)} / k       coverage = mean_i [some y_j in B(x_i)]

    and B'(p) the open ball, or p itself where the radius is 0.

    Kynkäänniemi et al. (2019), "Improved Precision and Recall Metric", eqs. 1-3; Naeem et al. (2020),
    "Reliable Fidelity and Diversity Metrics", eqs. 3-5. Closed balls as published, so that a set in which
    every row stands more than k times is as precise against itself as any other; density counts as the
    latter's code does, which makes it 1 for a set against itself. All four depend on n, m and k; coverage and
    density do not suffer from outliers among the samples as recall does. Precision, recall and coverage of a
    set against itself are 1, and so is density where no row stands more than k times; it may exceed 1.

    Intervals hold the balls fixed: Wilson's for the three shares, bootstrap for density.

    Raises:
        ValueError: wrong shapes, non-finite rows, or a set of no more than k rows.
    """
    rows, others = double_features(features, reference)
    if rows.shape[1] != others.shape[1]:
        raise ValueError(f"samples have {rows.shape[1]} features, the reference has {others.shape[1]}")
    if k < 1 or min(len(rows), len(others)) <= k:
        raise ValueError(
            f"k={k} neighbours need more than k rows in each set, got {len(rows)} samples and "
            f"{len(others)} references"
        )
    centre = middle(others)
    rows, others = rows - centre, others - centre
    reach = nearest(rows, rows, k=k, itself=True).distances[:, -1].square()
    other_reach = nearest(others, others, k=k, itself=True).distances[:, -1].square()
    balls = rows.new_zeros(len(rows))
    precise = torch.zeros_like(balls, dtype=torch.bool)
    reached, covered = (torch.zeros_like(other_reach, dtype=torch.bool) for _ in range(2))
    for part, squared in blocks(*screened(rows, others)):
        place = compare(rows[part], others, squared, other_reach)
        inside = place <= 0
        precise[part] = inside.any(1)
        balls[part] = ((place < 0) | (inside & (other_reach == 0))).sum(1).double()
        covered |= inside.any(0)
        reached |= (compare(rows[part], others, squared, reach[part].unsqueeze(1)) <= 0).any(0)

    def share(hits: Tensor) -> Interval:
        return proportion_interval(hits, level=level)

    density = balls / k
    if resamples:
        spread = mean_interval(density, resamples=resamples, level=level, seed=seed)
    else:
        spread = Interval(density.mean().item(), torch.nan, torch.nan)
    intervals = (share(precise), share(reached), spread, share(covered))
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
