import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.draws import normal, rotation
from windvane.metrics import (
    Pixels,
    extract_features,
    nearest,
    nearest_of_parts,
    nearest_training,
    nearest_training_images,
)
from windvane.metrics.features import feature_parts


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4), st.booleans())
def test_neighbours_are_those_of_all_distances(seed, k, narrow):
    rows, reference = normal(13, 3, seed), normal(21, 3, seed + 1, shift=5)
    if narrow:
        rows, reference = rows.float(), reference.float()
    gaps = (rows.double().unsqueeze(1) - reference.double()).square().sum(-1).sqrt()
    expected = gaps.sort(dim=1)
    found = nearest(rows, reference, k=k)
    assert torch.equal(found.indices, expected.indices[:, :k])
    torch.testing.assert_close(found.distances, expected.values[:, :k], rtol=1e-6, atol=1e-6)


def test_neighbours_of_parts_are_those_of_the_whole():
    rows, reference = normal(13, 3, 0), normal(21, 3, 1, shift=5)
    rows[0] = reference[17]
    whole = nearest(rows, reference, k=3)
    for sizes in ([21], [2, 15, 4], [1] * 21, [0, 20, 1]):
        found = nearest_of_parts(rows, iter(reference.split(sizes)), k=3)
        assert torch.equal(found.indices, whole.indices)
        torch.testing.assert_close(found.distances, whole.distances)
    with pytest.raises(ValueError, match="k=3 neighbours asked for, 2 rows"):
        nearest_of_parts(rows, reference[:2].split(1), k=3)


def test_parts_of_features_are_small_and_together_everything():
    images = normal(50, 16, 0).float().clamp(-1, 1).reshape(50, 1, 4, 4)
    parts = list(feature_parts(images, Pixels(), values=100, batch_size=3))
    assert [len(part) for part in parts] == [9] * 5 + [5]
    assert torch.equal(torch.cat(parts), extract_features(images, Pixels()))


def test_a_copy_has_distance_exactly_zero_however_far_the_data():
    reference = (normal(50, 200, 0) + 1e4).float()
    found = nearest(reference[[7, 3]], reference)
    assert found.distances.tolist() == [[0.0], [0.0]] and found.indices.tolist() == [[7], [3]]


def test_differences_below_the_rounding_of_float32_still_order_neighbours():
    # Far from the common centre the squared norms are 1e4 and hide gaps of 1e-2 in a float32 product.
    near = 100 + 0.01 * normal(4, 3, 0)
    reference = torch.cat([near, -near]).float()
    query = (near[:2] + 0.002 * normal(2, 3, 1)).float()
    gaps = (query.double().unsqueeze(1) - reference.double()).square().sum(-1)
    assert torch.equal(nearest(query, reference).indices[:, 0], gaps.argmin(1))
    assert torch.equal(nearest(query, reference, k=3).indices, gaps.argsort(1)[:, :3])


def test_a_row_is_not_its_own_neighbour_but_a_twin_is(monkeypatch):
    rows = normal(9, 2, 0)
    rows[4] = rows[1]
    for cells in (8_000_000, 20):
        monkeypatch.setattr("windvane.metrics.distances._CELLS", cells)
        found = nearest(rows, rows, itself=True)
        assert (found.indices[:, 0] != torch.arange(9)).all()
        assert found.indices[1].item() == 4 and found.distances[1].item() == 0
        assert found.distances[0].item() > 0


def test_planted_copies_are_found():
    train, unseen, samples = normal(400, 10, 0), normal(200, 10, 1), normal(300, 10, 2)
    planted = torch.tensor([5, 99, 210])
    samples[planted] = train[[17, 0, 399]] + 1e-3 * normal(3, 10, 3)
    found = nearest_training(samples, train, held_out=unseen)
    assert sorted(found.closest(3).tolist()) == planted.tolist()
    assert found.indices[planted].tolist() == [17, 0, 399]
    assert found.copies[planted].all()


def test_samples_of_the_datas_own_law_are_copies_as_often_as_unseen_data():
    found = []
    for r in range(100):
        parts = normal(300, 10, 3 * r), normal(400, 10, 3 * r + 1), normal(200, 10, 3 * r + 2)
        found.append(nearest_training(parts[0], parts[1], held_out=parts[2], quantile=0.1).metrics()[1])
    assert sum(metric.value for metric in found) / 100 == pytest.approx(0.1, abs=0.01)
    assert sum(metric.low <= 0.1 <= metric.high for metric in found) >= 90
    assert found[0].settings == {"quantile": 0.1}


def test_a_memorising_model_is_told_from_an_honest_one():
    train, unseen = normal(300, 8, 0), normal(300, 8, 1)
    honest = nearest_training(normal(500, 8, 2), train, held_out=unseen).metrics()
    thief = nearest_training(train + 0.3 * normal(300, 8, 3), train, held_out=unseen).metrics()
    assert honest[0].low < honest[0].details["baseline_mean"] < honest[0].high
    assert thief[0].high < thief[0].details["baseline_mean"]
    assert honest[1].low < 0.05 < honest[1].high < 0.12 and thief[1].low > 0.8


def test_the_training_set_is_its_own_baseline():
    train, samples = normal(400, 5, 0), normal(300, 5, 1)
    alone = nearest_training(samples, train)
    assert alone.baseline_kind == "training set, leave one out"
    assert alone.baseline.mean().item() == pytest.approx(alone.distances.mean().item(), rel=0.1)
    assert (alone.baseline > 0).all()


def test_a_large_training_set_is_sampled_for_the_baseline(monkeypatch):
    monkeypatch.setattr("windvane.metrics.memorisation._BASELINE_ROWS", 100)
    train = normal(300, 4, 0)
    train[10] = train[11]
    whole = nearest(train, train, itself=True).distances[:, 0]
    part = nearest_training(normal(5, 4, 1), train, seed=1).baseline
    # Every one of the distances is that of some training row to its nearest other one.
    assert len(part) == 100
    assert (torch.cdist(part[:, None], whole[:, None]).min(1).values < 1e-9).all()
    assert (part == 0).sum() <= 2  # the twins; no other row is its own neighbour


def test_scaling_and_rotation_act_as_they_must():
    train, unseen, samples = normal(50, 4, 0), normal(40, 4, 1), normal(30, 4, 2)
    plain = nearest_training(samples, train, held_out=unseen)
    turn = 3 * rotation(4, 3)
    moved = nearest_training(samples @ turn + 1, train @ turn + 1, held_out=unseen @ turn + 1)
    torch.testing.assert_close(moved.distances, 3 * plain.distances)
    assert torch.equal(moved.copies, plain.copies) and torch.equal(moved.indices, plain.indices)
    quantiles = plain.quantiles((0.5,))
    assert quantiles == {0.5: (plain.distances.quantile(0.5).item(), plain.baseline.quantile(0.5).item())}


def test_mirrored_copies_are_found_when_asked_for():
    random = torch.Generator().manual_seed(0)
    train, unseen, samples = (torch.rand(n, 1, 6, 6, generator=random) for n in (80, 60, 40))
    samples[:10] = train[20:30].flip(-1)
    blind = nearest_training_images(samples, train, Pixels(), held_out=unseen)
    seeing = nearest_training_images(samples, train, Pixels(), held_out=unseen, mirror=True)
    assert blind.copies[:10].sum() <= 2 and seeing.copies[:10].all()
    assert seeing.indices[:10].tolist() == list(range(20, 30))
    assert (seeing.distances <= blind.distances).all() and (seeing.baseline <= blind.baseline).all()
    assert seeing.space == "pixels or mirrored"


def test_training_images_are_read_a_part_at_a_time(monkeypatch):
    random = torch.Generator().manual_seed(0)
    train, unseen, samples = (torch.rand(n, 1, 4, 4, generator=random) for n in (80, 30, 20))
    whole = nearest_training_images(samples, train, Pixels(), held_out=unseen)
    plain = nearest_training(samples.flatten(1), train.flatten(1), held_out=unseen.flatten(1))
    assert torch.equal(whole.indices, plain.indices) and torch.equal(whole.distances, plain.distances)
    assert torch.equal(whole.baseline, plain.baseline) and whole.n_train == plain.n_train == 80
    seen = []

    def parts(images, extractor, **options):
        for part in feature_parts(images, extractor, values=16 * 7, **{**options, "batch_size": 7}):
            seen.append(len(part))
            yield part

    monkeypatch.setattr("windvane.metrics.memorisation.feature_parts", parts)
    for mirror in (False, True):
        few = nearest_training_images(samples, train, Pixels(), held_out=unseen, mirror=mirror)
        assert max(seen) == 7 and sum(seen) == 80
        seen.clear()
        if not mirror:
            assert torch.equal(few.indices, whole.indices)
            torch.testing.assert_close(few.distances, whole.distances)


def test_training_images_are_no_held_out_data():
    train = normal(50, 3, 0)
    with pytest.raises(ValueError, match="themselves training images"):
        nearest_training(normal(9, 3, 1), train, held_out=train[:20])
    with pytest.raises(ValueError, match="quantile must lie between 0 and 1, got 5"):
        nearest_training(normal(9, 3, 1), train, quantile=5)
    with pytest.raises(ValueError, match="k=60 neighbours asked for, 50 other rows available"):
        nearest(train, train, k=60)
    with pytest.raises(ValueError, match=r"neighbours need .* got \(50, 3\) and \(50, 2\)"):
        nearest(train, train[:, :2])
    images = train.reshape(50, 3, 1, 1).clamp(-1, 1)
    with pytest.raises(ValueError, match="quantile must lie between 0 and 1, got 5"):
        nearest_training_images(images, images, Pixels(), held_out=images, quantile=5)
    with pytest.raises(ValueError, match="needs held_out images"):
        nearest_training_images(images, images, Pixels(), mirror=True)
