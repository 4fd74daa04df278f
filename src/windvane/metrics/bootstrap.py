"""Intervals: linearised bootstrap, proportions, and spread over sampling seeds.

Resampling pictures with replacement and recomputing a Fréchet distance or an MMD measures the wrong thing:
duplicates inflate both the value (a second bias of about the size of the first) and its spread. What is
resampled here is the *linearised* statistic. A statistic T of an empirical law expands as

    T(P_n) = T(P) + mean_i phi(x_i) + smaller terms,

where phi is the influence function, known in closed form for every metric of this room. Its bootstrap needs
no recomputation, costs O(resamples · n), and is exact for means. The interval is about the value that
samples of *this size* have on average, so a finite-sample bias of T stays in it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from windvane.randomness import generator

_CHUNK = 4_000_000  # random indices drawn at once: 32 MB


class Interval(NamedTuple):
    """A value with the two ends of its interval."""

    value: float
    low: float
    high: float


def linear_bootstrap(
    value: float,
    influences: Sequence[Tensor],
    *,
    squared: float | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of a statistic from its influence values.

    Args:
        value: the statistic.
        influences: one vector per independent set of rows, ``phi(x_i)`` of shape (n_g,); each set is
            resampled on its own and the means are added. Constant offsets do not matter.
        squared: says that ``value + squared`` is a squared distance between two empirical laws (0 for the
            Fréchet distance). The spread of such a number grows with the number itself, so the interval is
            laid around its root and squared; around the number it would miss most truths from below.
        resamples: number of bootstrap draws.
        level: coverage wanted.
        seed: of the draws; nothing global is touched.

    Percentile interval with the small-sample expansion of Hesterberg (2015), "What Teachers Should Know About
    the Bootstrap", section 5.3: for a normal sample the width is then that of Student's interval.
    """
    if resamples < 10:
        raise ValueError(f"a bootstrap interval needs at least 10 resamples, got {resamples}")
    _check_level(level)
    groups = [group.detach().double().flatten().cpu() for group in influences]
    if not groups or min(len(group) for group in groups) < 2:
        raise ValueError("a bootstrap interval needs at least two rows in every set")
    total = torch.zeros(resamples, dtype=torch.float64)
    for stream, group in enumerate(groups):
        # Resampling has the spread of the divisor n; this makes it that of n - 1.
        widened = (group - group.mean()) * math.sqrt(len(group) / (len(group) - 1))
        total += _resampled_means(widened, resamples, generator(seed, stream))
    tail = _expanded_tail(groups, (1 - level) / 2)
    ends = torch.quantile(total, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    # Two equal sets are at distance 0 up to rounding, and the root of rounding is no scale for a spread.
    if squared is None or value + squared <= 1e-9 * max(abs(value), abs(squared)):
        return Interval(value, value + ends[0], value + ends[1])
    root = math.sqrt(value + squared)
    low, high = (max(0.0, root + end / (2 * root)) for end in ends)
    return Interval(value, low * low - squared, high * high - squared)


def mean_interval(values: Tensor, *, resamples: int = 1000, level: float = 0.95, seed: int = 0) -> Interval:
    """Mean of ``values`` (n,) with its bootstrap interval."""
    return linear_bootstrap(
        values.double().mean().item(), [values], resamples=resamples, level=level, seed=seed
    )


def proportion_interval(hits: Tensor, *, level: float = 0.95) -> Interval:
    """Share of true values in ``hits`` (n,) with Wilson's interval.

    The bootstrap of a share collapses to a point when all or none are hits, which is where precision and
    agreement often are; Wilson's interval (JASA 22, 1927) does not.
    """
    if hits.numel() < 1:
        raise ValueError("a share needs at least one row")
    return wilson(hits.double().mean().item(), hits.numel(), level=level)


def wilson(share: float, n: int, *, level: float = 0.95) -> Interval:
    """Wilson's interval of a ``share`` of ``n`` rows."""
    _check_level(level)
    z = _normal_quantile(0.5 + level / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def over_seeds(values: Sequence[float], *, level: float = 0.95) -> Interval:
    """Mean over independent sampling seeds with Student's interval, ``mean ± t · s / sqrt(n)``."""
    _check_level(level)
    if len(values) < 2:
        raise ValueError(f"an interval over seeds needs at least two seeds, got {len(values)}")
    row = torch.tensor([float(value) for value in values], dtype=torch.float64)
    if not torch.isfinite(row).all():
        raise ValueError(f"values over seeds must be finite, got {row.tolist()}")
    from scipy.stats import t as student

    half = float(student.ppf(0.5 + level / 2, len(values) - 1)) * row.std().item() / math.sqrt(len(values))
    mean = row.mean().item()
    return Interval(mean, mean - half, mean + half)


def _resampled_means(values: Tensor, resamples: int, random: torch.Generator) -> Tensor:
    rows = max(1, _CHUNK // len(values))
    means = []
    for start in range(0, resamples, rows):
        shape = (min(rows, resamples - start), len(values))
        means.append(values[torch.randint(len(values), shape, generator=random)].mean(1))
    return torch.cat(means)


def _expanded_tail(groups: Sequence[Tensor], tail: float) -> float:
    # The normal tail that reaches as far as Student's, with Welch and Satterthwaite's degrees of freedom.
    from scipy.stats import t as student

    variances = torch.stack([group.var() / len(group) for group in groups])
    if variances.sum() == 0:
        return tail
    freedoms = torch.tensor([len(group) - 1.0 for group in groups], dtype=torch.float64)
    freedom = variances.sum().square() / (variances.square() / freedoms).sum()
    return 0.5 * math.erfc(-float(student.ppf(tail, freedom.item())) / math.sqrt(2))


def _normal_quantile(probability: float) -> float:
    return math.sqrt(2) * torch.erfinv(torch.tensor(2 * probability - 1, dtype=torch.float64)).item()


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
