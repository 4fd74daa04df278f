import sys

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.draws import covariance, normal, rotation
from windvane.metrics import (
    GaussianStatistics,
    frechet,
    frechet_between,
    frechet_bias,
    frechet_distance,
)

# The package has a function of the same name.
MODULE = sys.modules["windvane.metrics.frechet"]


def by_scipy(x, y):
    """The formula as it is written, with scipy's matrix square root."""
    x, y = x.numpy(), y.numpy()
    c1, c2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(c1 @ c2)
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * root.real)


@pytest.mark.parametrize("d", [2, 5, 32])
def test_it_equals_the_formula_with_scipys_root(d):
    x, y = normal(200, d, 0) @ covariance(d, 1), normal(150, d, 2, shift=0.3) @ covariance(d, 3)
    assert frechet(x, y, resamples=0).value == pytest.approx(by_scipy(x, y), rel=1e-8)


def test_it_equals_torchmetrics_on_stored_features():
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Identity(torch.nn.Module):
        num_features = 8

        def forward(self, features):
            return features

    x, y = normal(120, 8, 0, scale=2), normal(100, 8, 1, shift=0.5)
    theirs = FrechetInceptionDistance(feature=Identity(), normalize=True).set_dtype(torch.float64)
    theirs.update(y, real=True)
    theirs.update(x, real=False)
    assert frechet(x, y, resamples=0).value == pytest.approx(theirs.compute().item(), abs=1e-8)


@given(st.floats(-5, 5), st.floats(0.1, 4), st.floats(-5, 5), st.floats(0.1, 4))
def test_one_dimension_has_a_closed_form(m1, s1, m2, s2):
    means = torch.tensor([[m1], [m2]], dtype=torch.float64)
    variances = torch.tensor([[[s1**2]], [[s2**2]]], dtype=torch.float64)
    expected = (m1 - m2) ** 2 + (s1 - s2) ** 2
    value = frechet_distance(means[0], variances[0], means[1], variances[1]).item()
    assert value == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_commuting_covariances_have_a_closed_form():
    basis = rotation(6, 0)
    a, b = torch.linspace(0.5, 3, 6).double(), torch.linspace(2, 0.1, 6).double()
    gap = normal(1, 6, 1)[0]
    value = frechet_distance(gap, basis * a @ basis.T, torch.zeros(6), basis * b @ basis.T)
    expected = gap.square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)


def test_singular_covariances_keep_their_digits():
    # A rank-one law against a law on the orthogonal line: nothing overlaps, the traces add.
    one, two = torch.diag(torch.tensor([4.0, 0.0])), torch.diag(torch.tensor([0.0, 9.0]))
    assert frechet_distance(torch.zeros(2), one, torch.zeros(2), two).item() == pytest.approx(13, abs=1e-12)
    assert frechet_distance(torch.zeros(2), one, torch.zeros(2), one).item() == pytest.approx(0, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_rotation_permutation_and_exchange_do_not_matter(seed):
    x, y = normal(40, 4, seed) @ covariance(4, seed + 1), normal(50, 4, seed + 2, shift=0.5)
    turn = rotation(4, seed + 3)
    value = frechet(x, y, resamples=0).value
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    for other in (
        frechet(x @ turn + 3, y @ turn + 3, resamples=0),
        frechet(x[order], y.flip(0), resamples=0),
        frechet(y, x, resamples=0),
    ):
        assert other.value == pytest.approx(value, rel=1e-9)
    assert frechet(3 * x, 3 * y, resamples=0).value == pytest.approx(9 * value, rel=1e-9)
    assert frechet(x, x, resamples=0).value == pytest.approx(0, abs=1e-9)


def test_too_few_rows_are_refused_by_name():
    few, many = normal(8, 8, 0), normal(50, 8, 1)
    with pytest.raises(ValueError, match=r"sample set has 8 rows for 8 features.*allow_few"):
        frechet(few, many)
    with pytest.raises(ValueError, match="reference set has 8 rows"):
        frechet_between(GaussianStatistics.of(many), GaussianStatistics.of(few))
    metric = frechet(few, many, allow_few=True)
    assert metric.value == pytest.approx(by_scipy(few, many), rel=1e-5)
    assert metric.low <= metric.value <= metric.high


def test_unfit_features_are_refused():
    good = normal(20, 3, 0)
    broken = good.clone()
    broken[4, 1] = torch.nan
    with pytest.raises(ValueError, match="1 of 20 rows are not finite, first is row 4"):
        frechet(broken, good)
    with pytest.raises(ValueError, match="samples have 3 features, the reference has 2"):
        frechet(good, good[:, :2])
    with pytest.raises(ValueError, match="shape"):
        frechet(good[0], good)


@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0])
def test_the_interval_covers_the_mean_value_at_this_size(shift):
    # Truth: the average distance of sets of this size, measured over the repetitions themselves.
    found = [
        frechet(
            normal(80, 3, 2 * r),
            normal(120, 3, 2 * r + 1, shift=shift, scale=1 + shift),
            bias=False,
            resamples=200,
        )
        for r in range(200)
    ]
    mean = sum(metric.value for metric in found) / len(found)
    covered = sum(metric.low <= mean <= metric.high for metric in found) / len(found)
    assert covered >= 0.92
    # And not by being absurdly wide.
    spread = torch.tensor([metric.value for metric in found]).std().item()
    width = sum(metric.high - metric.low for metric in found) / len(found)
    assert width < 1.5 * 2 * 1.96 * spread


def test_the_interval_is_laid_around_the_root():
    metric = frechet(normal(80, 3, 0), normal(80, 3, 1, shift=0.4), bias=False, resamples=20_000)
    up, down = metric.high**0.5 - metric.value**0.5, metric.value**0.5 - metric.low**0.5
    assert up == pytest.approx(down, rel=0.06)
    assert metric.high - metric.value > 1.15 * (metric.value - metric.low)


def test_debiasing_moves_the_value_to_the_truth():
    # N(0, I) against N(0.5, I) in four dimensions: the truth is 4 * 0.25 = 1.
    found = [frechet(normal(60, 4, 2 * r), normal(60, 4, 2 * r + 1, shift=0.5)) for r in range(100)]
    plain = sum(metric.value for metric in found) / len(found)
    debiased = sum(metric.details["debiased"] for metric in found) / len(found)
    assert plain - 1 > 0.2
    assert abs(debiased - 1) < 0.3 * (plain - 1)
    # And the interval, moved by the bias, covers the truth.
    moved = [(metric.low - metric.details["bias"], metric.high - metric.details["bias"]) for metric in found]
    assert sum(low <= 1 <= high for low, high in moved) >= 88


def test_a_fixed_reference_narrows_the_interval():
    x, y = normal(500, 3, 0, shift=0.5), normal(50, 3, 1)
    wide, narrow = frechet(x, y, bias=False), frechet(x, y, fixed_reference=True, bias=False)
    assert narrow.value == wide.value
    assert narrow.high - narrow.low < 0.7 * (wide.high - wide.low)
    assert frechet_bias(x, y, fixed_reference=True) < frechet_bias(x, y)


def test_the_interval_belongs_to_the_seed():
    x, y = normal(50, 3, 0), normal(50, 3, 1)
    state = torch.random.get_rng_state()
    assert frechet(x, y, seed=3) == frechet(x, y, seed=3)
    assert frechet(x, y, seed=3).high != frechet(x, y, seed=4).high
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("fixed", [False, True])
def test_the_expanded_bias_is_that_of_resampling(monkeypatch, fixed):
    x, y = normal(600, 40, 0, shift=0.3), 1.5 * normal(500, 40, 1)
    x[:, :10] = x[:, :10].exp() / 2  # heavy tails: two runs of 200 draws differ by 16 %
    expanded = frechet_bias(x, y, fixed_reference=fixed)
    monkeypatch.setattr(MODULE, "EXPANDED_DIMENSION", 10**9)
    runs = [frechet_bias(x, y, fixed_reference=fixed, resamples=200, seed=seed) for seed in (0, 1)]
    assert expanded == pytest.approx(sum(runs) / 2, rel=0.08)


def test_the_bias_of_many_features_needs_no_resampling(monkeypatch):
    monkeypatch.setattr(MODULE, "_resampled", lambda *_: pytest.fail("resampled"))
    assert frechet(normal(400, 64, 0), normal(400, 64, 1)).details["bias"] > 0
