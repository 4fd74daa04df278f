import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.draws import normal, rotation
from windvane.metrics import manifold
from windvane.metrics.distances import nearest


def values(samples, reference, **options):
    return {metric.name: metric.value for metric in manifold(samples, reference, resamples=0, **options)}


def by_definition(fake, real, k):
    """The four definitions with plain loops and numpy distances."""
    fake, real = fake.numpy(), real.numpy()

    def gap(a, b):
        return float(np.sqrt(((a - b) ** 2).sum()))

    def radii(points):
        return [
            sorted(gap(p, q) for j, q in enumerate(points) if j != i)[k - 1] for i, p in enumerate(points)
        ]

    real_radii, fake_radii = radii(real), radii(fake)
    inside = np.array([[gap(f, r) <= radius for r, radius in zip(real, real_radii)] for f in fake])
    reached = [any(gap(f, r) <= radius for f, radius in zip(fake, fake_radii)) for r in real]
    return {
        "precision": inside.any(1).mean(),
        "recall": np.mean(reached),
        "density": inside.sum() / (k * len(fake)),
        "coverage": inside.any(0).mean(),
    }


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4), st.floats(0, 2))
def test_it_equals_the_definitions(seed, k, shift):
    fake, real = normal(17, 2, seed, shift=shift), normal(23, 2, seed + 1)
    assert values(fake, real, k=k) == pytest.approx(by_definition(fake, real, k), abs=1e-12)


def test_a_case_by_hand():
    # On a line with k = 1: real 0, 1, 3 have radii 1, 1, 2, so the open balls (-1, 1), (0, 2), (1, 5).
    # Fake 0.5, 4, 10 have radii 3.5, 3.5, 6, so (-3, 4), (0.5, 7.5), (4, 16).
    real = torch.tensor([[0.0], [1.0], [3.0]])
    fake = torch.tensor([[0.5], [4.0], [10.0]])
    assert values(fake, real, k=1) == pytest.approx(
        # 0.5 lies in two balls, 4 in one, 10 in none; every ball holds a sample, every real is reached.
        {"precision": 2 / 3, "recall": 1.0, "density": 3 / 3, "coverage": 1.0}
    )
    assert values(fake[1:], real, k=1) == pytest.approx(
        # Radii 6 and 6: (-2, 10) and (4, 16): all reals reached. Only 4 lies in a ball, that of 3.
        {"precision": 1 / 2, "recall": 1.0, "density": 1 / 2, "coverage": 1 / 3}
    )


def test_a_set_against_itself_is_perfect():
    # Copies lie exactly on spheres; rounding of the distances must not put them inside.
    real = normal(300, 6, 0)
    assert values(real, real.clone(), k=5) == pytest.approx(
        {"precision": 1.0, "recall": 1.0, "density": 1.0, "coverage": 1.0}, abs=1e-12
    )


@pytest.mark.parametrize("copies", [2, 6, 9])
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_a_set_of_repeated_rows_is_perfect_against_itself(copies, offset):
    """From k + 1 copies on all balls have the radius 0, and hold what they are around."""
    real = (normal(40, 6, 0) + offset).repeat(copies, 1)
    found = values(real, real[torch.randperm(len(real))], k=5)
    assert found["precision"] == found["recall"] == found["coverage"] == 1
    assert found["density"] >= 1 or copies < 6
    away = values(real + 1e-3, real, k=5)
    assert copies < 6 or away["precision"] == away["density"] == 0


def test_one_far_row_does_not_spoil_the_others():
    fake, real = normal(60, 4, 0, shift=0.4), normal(70, 4, 1)
    plain = values(fake, real)
    far = values(torch.cat([fake, torch.full((1, 4), 1e10)]), torch.cat([real, torch.full((1, 4), -1e10)]))
    n, m = len(fake), len(real)
    assert far["precision"] == pytest.approx(plain["precision"] * n / (n + 1), abs=2 / n)
    assert far["coverage"] == pytest.approx(plain["coverage"] * m / (m + 1), abs=2 / m)
    assert far["density"] == pytest.approx(plain["density"] * n / (n + 1), abs=0.2)


def test_collapse_and_outliers_show_where_they_should():
    real = normal(200, 3, 0)
    collapsed = values(real[:1] + normal(200, 3, 1, scale=1e-3), real)
    assert collapsed["precision"] == 1 and collapsed["recall"] < 0.05 and collapsed["coverage"] < 0.1
    far = values(normal(200, 3, 1, shift=50), real)
    assert far["precision"] == far["density"] == far["coverage"] == 0


def test_blocks_rotation_shift_and_order_do_not_matter(monkeypatch):
    fake, real = normal(60, 4, 0, shift=0.4), normal(70, 4, 1)
    whole, turn = values(fake, real), rotation(4, 2)
    assert values(fake @ turn + 100, real @ turn + 100) == pytest.approx(whole)
    assert values(fake.flip(0), real.flip(0)) == pytest.approx(whole)
    monkeypatch.setattr("windvane.metrics.distances._CELLS", 200)
    assert values(fake, real) == pytest.approx(whole)


def test_precision_and_recall_exchange_with_the_sets():
    fake, real = normal(60, 2, 0, scale=0.5), normal(70, 2, 1)
    there, back = values(fake, real), values(real, fake)
    assert there["precision"] == back["recall"] and there["recall"] == back["precision"]
    assert there["precision"] > there["recall"]


def test_intervals_hold_the_value_and_do_not_collapse_at_one():
    found = {metric.name: metric for metric in manifold(normal(100, 2, 0), normal(100, 2, 1))}
    for metric in found.values():
        assert metric.low <= metric.value <= metric.high and metric.low < metric.high
        assert metric.settings == {"k": 5}
    same = {m.name: m for m in manifold(normal(100, 2, 0), normal(100, 2, 0))}
    assert same["precision"].value == same["precision"].high == 1 and 0.9 < same["precision"].low < 1


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError, match=r"k=5 neighbours need more than k rows .* got 5 samples and 9"):
        manifold(normal(5, 2, 0), normal(9, 2, 1))
    with pytest.raises(ValueError, match="samples have 2 features"):
        manifold(normal(9, 2, 0), normal(9, 3, 1))


@pytest.mark.parametrize(("dtype", "itself"), [(torch.float32, True), (torch.float64, False)])
@pytest.mark.parametrize("spread", [1.0, 1e-4, 1e-6])
def test_nearest_rows_are_exact_where_a_float32_product_is_not(dtype, itself, spread):
    """Tight groups far from one another: their inner distances drown in the rounding of float32."""
    reference = 10 * normal(4, 6, 0).repeat(150, 1) + spread * normal(600, 6, 1)
    reference = reference.to(dtype)
    rows = reference if itself else reference[:333] + spread * normal(333, 6, 2)
    direct = (rows.double()[:, None] - reference.double()).square().sum(-1)
    if itself:
        direct.fill_diagonal_(torch.inf)
    distances, indices = nearest(rows, reference, k=5, itself=itself)
    expected = direct.sort(dim=1).values[:, :5].sqrt()
    torch.testing.assert_close(distances, expected, atol=0, rtol=1e-12)
    torch.testing.assert_close(direct.gather(1, indices).sqrt(), distances, atol=0, rtol=1e-12)


@pytest.mark.parametrize("spread", [1.0, 1e-5])
def test_balls_are_exact_where_a_float32_product_is_not(spread):
    place = 10 * normal(4, 3, 0).repeat(40, 1)
    fake, real = place + spread * normal(160, 3, 1), place + spread * normal(160, 3, 2, shift=0.5)
    assert values(fake, real) == pytest.approx(by_definition(fake, real, 5), abs=1e-12)


def test_tight_groups_at_any_distance_keep_their_neighbours():
    """Two groups so far apart that their inner distances drown in the rounding of float64, too."""
    near, far = normal(60, 5, 0), 1e-4 * normal(45, 5, 1) + 1e8
    reference = torch.cat([near, far])
    direct = (reference[:, None] - reference).square().sum(-1)
    direct.fill_diagonal_(torch.inf)
    expected = direct.sort(dim=1, stable=True)
    distances, indices = nearest(reference, reference, k=3, itself=True)
    torch.testing.assert_close(distances, expected.values[:, :3].sqrt(), atol=0, rtol=1e-12)
    assert torch.equal(indices, expected.indices[:, :3])
    fake = torch.cat([near[:40] + 0.3, far[:30] + 1e-4 * normal(30, 5, 2)])
    assert values(fake, reference, k=3) == pytest.approx(by_definition(fake, reference, 3), abs=1e-12)


def test_a_row_very_far_away_reaches_what_it_reaches_and_no_more():
    """Distances from it differ in their last digits only, which still tell what its ball holds."""
    fake, real = normal(40, 5, 0), normal(50, 5, 1, shift=0.2)
    fake[3] = 1e13
    assert values(fake, real, k=3) == pytest.approx(by_definition(fake, real, 3), abs=1e-12)


@pytest.mark.parametrize("size", [1e160, 1e-200])
def test_features_whose_squares_leave_float64_are_refused(size):
    with pytest.raises(ValueError, match="sample features reach .*scale samples and reference alike"):
        manifold(size * normal(20, 3, 0), size * normal(20, 3, 1))
