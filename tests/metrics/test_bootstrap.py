import math

import pytest
import torch

from tests.metrics.draws import normal
from windvane.metrics import linear_bootstrap, mean_interval, over_seeds, proportion_interval


def exponential(n, seed):
    return -torch.log(torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


@pytest.mark.parametrize(
    ("draw", "least"), [(lambda r: normal(8, 1, r)[:, 0] + 1, 0.92), (lambda r: exponential(20, r), 0.88)]
)
def test_the_mean_is_covered_even_by_small_samples(draw, least):
    found = [mean_interval(draw(r), resamples=400, seed=r) for r in range(400)]
    covered = sum(interval.low <= 1 <= interval.high for interval in found) / len(found)
    assert least <= covered <= 0.98


def test_eight_normal_rows_get_students_width():
    # Without the expansion the interval of eight rows would be a quarter too narrow.
    ratios = []
    for r in range(60):
        row = normal(8, 1, r)[:, 0]
        interval = mean_interval(row, resamples=2000, seed=r)
        ratios.append((interval.high - interval.low) / (2 * 2.365 * row.std().item() / math.sqrt(8)))
    assert 0.93 < sum(ratios) / len(ratios) < 1.07


def test_independent_sets_add_their_variances():
    one, two = normal(400, 1, 0)[:, 0], 2 * normal(300, 1, 1)[:, 0]
    interval = linear_bootstrap(5.0, [one, two], resamples=4000)
    half = 1.96 * math.sqrt(one.var().item() / 400 + two.var().item() / 300)
    assert interval.value == 5
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.06)


def test_squared_distances_are_bounded_symmetrically_in_their_root():
    row = normal(500, 1, 0, scale=10)[:, 0]
    plain, rooted = linear_bootstrap(4.0, [row]), linear_bootstrap(4.0, [row], squared=5.0)
    low, high = (math.sqrt(end + 5) for end in rooted[1:])
    assert high - 3 == pytest.approx((plain.high - 4) / 6) and 3 - low == pytest.approx((4 - plain.low) / 6)
    # A root cannot be negative: the interval then reaches down to a distance of zero.
    assert linear_bootstrap(0.1, [100 * row], squared=0.0).low == 0


def test_many_tiny_sets_do_not_widen_the_interval():
    # A hundred pairs: the degrees of freedom are those of all sets together, not of one pair.
    sets = [normal(2, 1, r)[:, 0] for r in range(100)]
    interval = linear_bootstrap(0.0, sets, resamples=2000)
    half = 1.98 * math.sqrt(sum(part.var().item() / 2 for part in sets))
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.1)


def test_the_seed_decides_and_chunks_do_not(monkeypatch):
    row = normal(50, 1, 0)[:, 0]
    one = mean_interval(row, seed=7)
    assert one == mean_interval(row, seed=7) != mean_interval(row, seed=8)
    monkeypatch.setattr("windvane.metrics.bootstrap._CHUNK", 70)
    assert mean_interval(row, seed=7) == one


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_share_is_covered(share):
    random = torch.Generator().manual_seed(0)
    found = [proportion_interval(torch.rand(100, generator=random) < share) for _ in range(1000)]
    covered = sum(interval.low <= share <= interval.high for interval in found) / len(found)
    assert 0.91 <= covered <= 0.99


def test_all_hits_still_leave_doubt():
    # Wilson's upper end for no hits among n is z² / (n + z²).
    interval = proportion_interval(torch.zeros(50, dtype=torch.bool))
    assert interval.low == 0 and interval.high == pytest.approx(3.8415 / 53.8415, rel=1e-4)


def test_over_seeds_is_students_interval():
    from scipy.stats import t, ttest_1samp

    values = [1.2, 0.9, 1.4]
    found = over_seeds(values)
    theirs = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    wide = over_seeds(values, level=0.99)
    assert (wide.high - wide.low) / (found.high - found.low) == pytest.approx(
        t.ppf(0.995, 2) / t.ppf(0.975, 2)
    )


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="at least two seeds, got 1"):
        over_seeds([1.0])
    with pytest.raises(ValueError, match="finite"):
        over_seeds([1.0, math.nan])
    with pytest.raises(ValueError, match=r"level must lie between 0 and 1, got 95"):
        mean_interval(normal(5, 1, 0)[:, 0], level=95)
    with pytest.raises(ValueError, match="at least 10 resamples, got 3"):
        mean_interval(normal(5, 1, 0)[:, 0], resamples=3)
    with pytest.raises(ValueError, match="at least two rows"):
        mean_interval(torch.ones(1))
    with pytest.raises(ValueError, match="at least one row"):
        proportion_interval(torch.zeros(0, dtype=torch.bool))
