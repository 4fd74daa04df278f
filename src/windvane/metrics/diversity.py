"""How different samples of one condition are from each other."""

import torch
from torch import Tensor

from windvane.metrics.bootstrap import linear_bootstrap
from windvane.metrics.distances import blocks
from windvane.metrics.features import checked_features
from windvane.metrics.result import Metric


def mean_distances(features: Tensor) -> Tensor:
    """For each row of ``features`` (n, D) its mean Euclidean distance to the n - 1 others (n,)."""
    if len(features) < 2:
        raise ValueError(f"a mean pairwise distance needs two rows, got {len(features)}")
    centred = features.double() - features.double().mean(0)
    sums = torch.cat([squared.sqrt().sum(1) for _, squared in blocks(centred, centred)])
    return sums / (len(features) - 1)


def within_condition_diversity(
    features: Tensor, ids: Tensor, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Metric:
    """Mean pairwise distance of samples that share a condition,

        mean over conditions c of  Σ_{i≠j in c} |y_i - y_j| / n_c (n_c - 1),

    for ``features`` (n, D) and condition ``ids`` (n,). Conditions weigh alike; those with a single sample
    are left out and counted in ``details``. Compare with the same number for real images of the same
    conditions: guidance lowers it. ``details["overall"]`` is the mean pairwise distance of all samples,
    whatever their condition. Interval: linearised bootstrap within conditions.

    Raises:
        ValueError: shapes that do not match, or no condition with two samples.
    """
    rows = checked_features(features).detach().cpu()
    ids = torch.as_tensor(ids).cpu()
    if ids.shape != (len(rows),):
        raise ValueError(f"{len(rows)} rows of features need as many ids, got the shape {tuple(ids.shape)}")
    groups = [rows[ids == value] for value in ids.unique()]
    used = [group for group in groups if len(group) > 1]
    if not used:
        raise ValueError("no condition has two samples, so there is no distance to average")
    means = [mean_distances(group) for group in used]
    value = sum(mean.mean().item() for mean in means) / len(means)
    low = high = None
    if resamples:
        influences = [2 * mean / len(means) for mean in means]
        _, low, high = linear_bootstrap(value, influences, resamples=resamples, level=level, seed=seed)
        low = max(low, 0.0)
    return Metric(
        name="diversity",
        value=value,
        better="higher",
        low=low,
        high=high,
        level=level,
        n_samples=sum(len(group) for group in used),
        settings={"conditions": len(used)},
        details={
            "overall": mean_distances(rows).mean().item(),
            "single_samples_left_out": len(groups) - len(used),
            "interval": f"linearised bootstrap within conditions, {resamples} draws",
        },
    )
