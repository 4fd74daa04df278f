import pytest
import torch

from tests.metrics.draws import normal, rotation
from windvane.metrics import kernel_distance


def by_hand(x, y, gamma=None):
    """The unbiased estimator written as three double loops."""
    gamma = 1 / x.shape[1] if gamma is None else gamma

    def k(a, b):
        return (gamma * float(a @ b) + 1) ** 3

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    xy = sum(k(a, b) for a in x for b in y) / (n * m)
    return xx + yy - 2 * xy


@pytest.mark.parametrize("gamma", [None, 0.7])
def test_it_equals_the_formula_by_hand(gamma):
    x, y = normal(9, 3, 0), normal(12, 3, 1, shift=0.5)
    value = kernel_distance(x, y, gamma=gamma, resamples=0).value
    assert value == pytest.approx(by_hand(x, y, gamma), rel=1e-12)


def test_it_equals_torchmetrics():
    from torchmetrics.image.kid import KernelInceptionDistance

    class Identity(torch.nn.Module):
        num_features = 6

        def forward(self, features):
            return features

    x, y = normal(50, 6, 0), normal(50, 6, 1, shift=0.3)
    theirs = KernelInceptionDistance(feature=Identity(), subsets=2, subset_size=50, normalize=True)
    theirs.set_dtype(torch.float64)
    theirs.update(y, real=True)
    theirs.update(x, real=False)
    mean, _ = theirs.compute()
    assert kernel_distance(x, y, resamples=0).value == pytest.approx(mean.item(), rel=1e-6)
    whole = kernel_distance(x, y, subsets=2, subset_size=50)
    assert whole.value == pytest.approx(mean.item(), rel=1e-6)
    assert whole.details["std_over_subsets"] == pytest.approx(0, abs=1e-12)


def test_blocks_do_not_change_the_value(monkeypatch):
    x, y = normal(40, 3, 0), normal(33, 3, 1, shift=0.2)
    whole = kernel_distance(x, y)
    monkeypatch.setattr("windvane.metrics.kernel._CELLS", 100)
    pieces = kernel_distance(x, y)
    assert pieces.value == pytest.approx(whole.value, rel=1e-12)
    assert pieces.low == pytest.approx(whole.low, rel=1e-9)


def test_it_is_unbiased_at_any_number_of_rows():
    # With the linear kernel (degree 1) the truth is gamma |difference of the means|², here 0.5.
    def mean(n, m, shift):
        draws = [
            kernel_distance(normal(n, 2, 2 * r), normal(m, 2, 2 * r + 1, shift=shift), degree=1, resamples=0)
            for r in range(400)
        ]
        values = torch.tensor([metric.value for metric in draws])
        return values.mean().item(), 3 * values.std().item() / 20

    for n, m in ((4, 4), (30, 5)):
        value, error = mean(n, m, 0.5**0.5)
        assert abs(value - 0.5) < error
        value, error = mean(n, m, 0.0)
        assert abs(value) < error


def test_subsets_are_drawn_by_the_seed_and_average_to_the_value():
    x, y = normal(200, 4, 0), normal(150, 4, 1, shift=0.4)
    state = torch.random.get_rng_state()
    one = kernel_distance(x, y, subsets=60, subset_size=50, seed=1)
    assert one == kernel_distance(x, y, subsets=60, subset_size=50, seed=1)
    assert one.value != kernel_distance(x, y, subsets=60, subset_size=50, seed=2).value
    assert torch.equal(torch.random.get_rng_state(), state)
    error = 4 * one.details["std_over_subsets"] / 60**0.5
    assert abs(one.value - kernel_distance(x, y).value) < error


@pytest.mark.parametrize(("shift", "truth"), [(0.0, 0.0), (0.3, 0.09), (1.0, 1.0)])
def test_the_interval_covers_the_truth(shift, truth):
    # Degree 1 again: the truth is 2 shift² / 2.
    found = [
        kernel_distance(normal(60, 2, 2 * r), normal(80, 2, 2 * r + 1, shift=shift), degree=1, resamples=200)
        for r in range(300)
    ]
    assert sum(metric.low <= truth <= metric.high for metric in found) >= 0.92 * len(found)
    width = sum(metric.high - metric.low for metric in found) / len(found)
    spread = torch.tensor([metric.value for metric in found]).std().item()
    assert width < 1.5 * 2 * 1.96 * spread


def test_rotation_and_order_do_not_matter():
    x, y = normal(30, 4, 0), normal(25, 4, 1, shift=0.5)
    turn = rotation(4, 2)
    value = kernel_distance(x, y, resamples=0).value
    assert kernel_distance(x @ turn, y @ turn, resamples=0).value == pytest.approx(value, rel=1e-9)
    assert kernel_distance(y.flip(0), x, resamples=0).value == pytest.approx(value, rel=1e-9)


def test_impossible_requests_are_refused():
    x = normal(10, 2, 0)
    with pytest.raises(ValueError, match="2 subsets of 20 rows cannot be drawn from 10 and 10"):
        kernel_distance(x, x, subsets=2, subset_size=20)
    with pytest.raises(ValueError, match="two rows in each set, got 1 and 10"):
        kernel_distance(x[:1], x)
    with pytest.raises(ValueError, match="samples have 2 features, the reference has 1"):
        kernel_distance(x, x[:, :1])


def test_a_kernel_beyond_float64_is_refused():
    rows = 1e40 * normal(20, 3, 0)
    with pytest.raises(
        ValueError, match="'degree': 8.* is not finite for features as large as .*lower degree"
    ):
        kernel_distance(rows, rows + 1e40, degree=8, resamples=0)


def test_a_set_against_its_own_copy_has_an_interval_of_its_own_size():
    """The distance is 0 up to rounding, and an interval around the root of that ended at 1e13."""
    for seed in range(20):  # in which rounding is above 0 in some, and below in others
        random = torch.Generator().manual_seed(seed)
        rows = 20 * torch.randn(40, 4, generator=random, dtype=torch.float64)
        found = kernel_distance(rows, rows[torch.randperm(40, generator=random)], resamples=100)
        assert found.low <= found.value <= found.high
        assert found.high - found.low < 100 * abs(found.value)
