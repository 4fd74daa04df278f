import math

import pytest
import torch

from tests.metrics.draws import normal, rotation
from windvane.metrics import mean_distances, within_condition_diversity


def test_a_case_by_hand():
    # Condition 0 holds 0, 3, 9 (gaps 3, 9, 6; mean 6), condition 1 holds 1 and 2; condition 7 a single row.
    rows = torch.tensor([[0.0], [3.0], [9.0], [1.0], [2.0], [50.0]])
    metric = within_condition_diversity(rows, torch.tensor([0, 0, 0, 1, 1, 7]), resamples=0)
    assert metric.value == pytest.approx((6 + 1) / 2)
    assert metric.details["single_samples_left_out"] == 1
    assert metric.n_samples == 5 and metric.settings == {"conditions": 2}


def test_mean_distances_are_those_of_all_pairs(monkeypatch):
    rows = normal(30, 4, 0) + 100
    gaps = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    torch.testing.assert_close(mean_distances(rows), gaps.sum(1) / 29, rtol=1e-9, atol=1e-9)
    monkeypatch.setattr("windvane.metrics.distances._CELLS", 70)
    torch.testing.assert_close(mean_distances(rows), gaps.sum(1) / 29, rtol=1e-9, atol=1e-9)


def test_normal_rows_have_a_known_mean_distance():
    # |x - y| in one dimension is half-normal with scale sqrt(2): its mean is 2 / sqrt(pi).
    found = [
        within_condition_diversity(normal(40, 1, r), torch.arange(40) % 4, resamples=200) for r in range(200)
    ]
    truth = 2 / math.sqrt(math.pi)
    mean = sum(metric.value for metric in found) / 200
    assert mean == pytest.approx(truth, rel=0.03)
    covered = sum(metric.low <= truth <= metric.high for metric in found) / 200
    assert 0.9 <= covered <= 0.99


def test_scale_is_linear_and_rotation_and_order_do_not_matter():
    rows, ids = normal(50, 3, 0), torch.arange(50) % 5
    value = within_condition_diversity(rows, ids, resamples=0).value
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    moved = 2.5 * rows[order] @ rotation(3, 1) + 7
    assert within_condition_diversity(moved, ids[order], resamples=0).value == pytest.approx(2.5 * value)


def test_conditions_that_tell_nothing_leave_the_overall_diversity():
    rows = normal(400, 3, 0)
    loose = within_condition_diversity(rows, torch.arange(400) % 4)
    assert loose.low < loose.details["overall"] < loose.high
    tight = within_condition_diversity(rows, (rows[:, 0] > 0).long())
    assert tight.high < tight.details["overall"]


def test_nothing_to_average_is_refused():
    with pytest.raises(ValueError, match="no condition has two samples"):
        within_condition_diversity(normal(3, 2, 0), torch.arange(3))
    with pytest.raises(ValueError, match=r"3 rows of features need as many ids, got the shape \(2,\)"):
        within_condition_diversity(normal(3, 2, 0), torch.arange(2))
    with pytest.raises(ValueError, match="two rows, got 1"):
        mean_distances(normal(1, 2, 0))
