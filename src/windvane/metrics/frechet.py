"""Fréchet distance between the Gaussians fitted to two sets of features."""

from collections.abc import Iterator

import torch
from torch import Tensor

from windvane.metrics.bootstrap import linear_bootstrap
from windvane.metrics.features import checked_features
from windvane.metrics.result import Metric
from windvane.metrics.statistics import GaussianStatistics
from windvane.randomness import generator

#: Largest feature dimension at which the bias is estimated without being asked for.
BIAS_DIMENSION = 512
#: Smallest feature dimension at which the bias is expanded, not resampled.
EXPANDED_DIMENSION = 32


def _root(covariance: Tensor) -> Tensor:
    # R with R Rᵀ = covariance; also for singular ones, where a Cholesky factor does not exist.
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp_min(0).sqrt().unsqueeze(-2)


def frechet_distance(mean: Tensor, covariance: Tensor, mean2: Tensor, covariance2: Tensor) -> Tensor:
    """Squared 2-Wasserstein distance of two Gaussians,

        |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^(1/2)),

    for means (..., D) and covariances (..., D, D); computed in float64, leading dimensions broadcast.

    Dowson and Landau (1982); as a score of images, Heusel et al. (2017), "GANs Trained by a Two Time-Scale
    Update Rule", eq. 6. The trace of the root is taken as the sum of the singular values of R2ᵀ R1 with C =
    R Rᵀ: no complex root, and singular covariances keep their digits.
    """
    first, second = covariance.double(), covariance2.double()
    overlap = torch.linalg.svdvals(_root(second).mT @ _root(first)).sum(-1)
    traces = first.diagonal(dim1=-2, dim2=-1).sum(-1) + second.diagonal(dim1=-2, dim2=-1).sum(-1)
    gap = (mean.double() - mean2.double()).square().sum(-1)
    return (gap + traces - 2 * overlap).clamp_min(0)


def frechet_between(one: GaussianStatistics, two: GaussianStatistics, *, allow_few: bool = False) -> float:
    """Fréchet distance of accumulated statistics, for sets too large to keep their features.

    Raises ValueError for different dimensions, and for a set of no more rows than features unless
    ``allow_few``.
    """
    if one.dimension != two.dimension:
        raise ValueError(f"samples have {one.dimension} features, the reference has {two.dimension}")
    if not allow_few:
        _refuse_few(one.count, one.dimension, "sample")
        _refuse_few(two.count, two.dimension, "reference")
    return frechet_distance(one.mean, one.covariance, two.mean, two.covariance).item()


def frechet(
    features: Tensor,
    reference: Tensor,
    *,
    allow_few: bool = False,
    fixed_reference: bool = False,
    bias: bool | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Metric:
    """Fréchet distance of ``features`` (n, D) to ``reference`` (m, D), with an interval.

    The plug-in distance is biased upwards by about c/n + c'/m, so it is compared at equal numbers only. The
    interval is for the value that *these numbers of rows* have on average. It comes from the linearised
    bootstrap: with T the optimal map's matrix from the first Gaussian to the second, the influence of a row
    of the first set is ``2 (m1 - m2)·(x - m1) + (x - m1)ᵀ (I - T) (x - m1)``, and likewise for the second.
    It is on the wide side when the two laws are equal, where the distance is no longer linear in the rows.

    Args:
        allow_few: accept no more rows than features, where the covariance is singular.
        fixed_reference: treat the reference as the whole population, not as a draw.
        bias: also estimate the bias by the ordinary bootstrap, whose mean exceeds the value by about as
            much as the value exceeds the truth; ``details`` then has ``bias`` and ``debiased``. None: for
            D up to 512.
        resamples: bootstrap draws; 0 leaves out interval and bias.

    Raises:
        ValueError: wrong shapes, non-finite rows, or too few rows.
    """
    rows, others = _pair(features, reference)
    one, two = GaussianStatistics.of(rows), GaussianStatistics.of(others)
    value = frechet_between(one, two, allow_few=allow_few)
    low = high = None
    details: dict[str, object] = {}
    if resamples:
        sets = list(_influences(rows, others, one, two))[: 1 if fixed_reference else 2]
        _, low, high = linear_bootstrap(value, sets, squared=0.0, resamples=resamples, level=level, seed=seed)
        details["interval"] = f"linearised bootstrap, {resamples} draws"
        if bias or (bias is None and one.dimension <= BIAS_DIMENSION):
            excess = frechet_bias(rows, others, fixed_reference=fixed_reference, seed=seed)
            details |= {"bias": excess, "debiased": max(0.0, value - excess)}
    return Metric(
        name="frechet",
        value=value,
        better="lower",
        low=low,
        high=high,
        level=level,
        n_samples=len(rows),
        n_reference=len(others),
        settings={"dimension": one.dimension},
        details=details,
    )


def frechet_bias(
    features: Tensor, reference: Tensor, *, fixed_reference: bool = False, resamples: int = 50, seed: int = 0
) -> float:
    """Bootstrap estimate of the upward bias of the plug-in distance: mean of resampled distances minus it.

    From 32 features on, where resampling costs seconds, and with at least four rows a feature, it is the
    second-order expansion of that mean, which needs no resampling and has no noise of its own.
    """
    rows, others = _pair(features, reference)
    one, two = GaussianStatistics.of(rows), GaussianStatistics.of(others)
    d = one.dimension
    if d >= EXPANDED_DIMENSION and min(one.count, two.count) >= 4 * d and _full_rank(one) and _full_rank(two):
        excess = _expanded_bias(rows, one, two)
        return excess if fixed_reference else excess + _expanded_bias(others, two, one)
    plain = frechet_distance(one.mean, one.covariance, two.mean, two.covariance).item()
    total = 0.0
    second = _resampled(others, resamples, generator(seed, 1))
    for mean, covariance in _resampled(rows, resamples, generator(seed, 0)):
        mean2, covariance2 = (two.mean, two.covariance) if fixed_reference else next(second)
        total += frechet_distance(mean, covariance, mean2, covariance2).item()
    return total / resamples - plain


def _full_rank(law: GaussianStatistics) -> bool:
    values = torch.linalg.eigvalsh(law.covariance)
    return bool(values[0] > 1e-8 * values[-1])


def _expanded_bias(rows: Tensor, own: GaussianStatistics, other: GaussianStatistics) -> float:
    # Half the second derivative of the distance in the first law, in the mean square of what resampling its
    # n rows does. With S = C2^(1/2) C1 C2^(1/2) = Q diag(r^2) Q', z = Q' C2^(1/2) (x - m1):
    # tr C1 / n from the means, 1/2 sum_ij var(z_i z_j) / n / (r_i r_j (r_i + r_j)) from -2 tr S^(1/2).
    n = len(rows)
    values, vectors = torch.linalg.eigh(other.covariance)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    squares, basis = torch.linalg.eigh(root @ own.covariance @ root)
    r = squares.clamp_min(0).sqrt()
    z = ((rows - own.mean) @ (root @ basis)).square()
    spread = (z.T @ z / n - torch.diag(squares).square()) / n
    curvature = 1 / (torch.outer(r, r) * (r.unsqueeze(1) + r))
    return (own.covariance.trace() / n + (spread * curvature).sum() / 2).item()


def _pair(features: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    rows = checked_features(features, name="sample features").detach().to("cpu", torch.float64)
    others = checked_features(reference, name="reference features").detach().to("cpu", torch.float64)
    if rows.shape[1] != others.shape[1]:
        raise ValueError(f"samples have {rows.shape[1]} features, the reference has {others.shape[1]}")
    return rows, others


def _refuse_few(count: int, dimension: int, which: str) -> None:
    if count <= dimension:
        raise ValueError(
            f"the {which} set has {count} rows for {dimension} features: its covariance is singular and the "
            f"Fréchet distance mostly bias; use more than {dimension} images, a smaller feature space, or "
            "allow_few=True"
        )


def _resampled(rows: Tensor, resamples: int, random: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    # Weighted sums instead of gathered rows: counts of the draw act as weights.
    centre = rows.mean(0)
    centred, n = rows - centre, len(rows)
    for _ in range(resamples):
        weights = torch.bincount(torch.randint(n, (n,), generator=random), minlength=n).double()
        mean = weights @ centred / n
        scatter = (centred * weights.unsqueeze(1)).T @ centred - n * torch.outer(mean, mean)
        yield mean + centre, scatter / (n - 1)


def _influences(
    rows: Tensor, others: Tensor, one: GaussianStatistics, two: GaussianStatistics
) -> Iterator[Tensor]:
    for own, mine, theirs in ((rows, one, two), (others, two, one)):
        centred = own - mine.mean
        bend = torch.eye(mine.dimension, dtype=torch.float64) - _optimal_map(
            mine.covariance, theirs.covariance
        )
        yield 2 * centred @ (mine.mean - theirs.mean) + ((centred @ bend) * centred).sum(1)


def _optimal_map(source: Tensor, target: Tensor) -> Tensor:
    # Matrix of the optimal transport between centred Gaussians: C1^(-1/2) (C1^(1/2) C2 C1^(1/2))^(1/2)
    # C1^(-1/2), with the pseudo-inverse on directions in which the source has no spread.
    values, vectors = torch.linalg.eigh(source)
    kept = values > 1e-10 * values.max().clamp_min(0)
    roots = values.clamp_min(0).sqrt()
    root = (vectors * roots) @ vectors.T
    inverse = (vectors * torch.where(kept, 1 / roots, 0.0)) @ vectors.T
    inner, basis = torch.linalg.eigh(root @ target @ root)
    return inverse @ ((basis * inner.clamp_min(0).sqrt()) @ basis.T) @ inverse
