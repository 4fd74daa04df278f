"""Image data as an object: values, rows, hashes, splits, long tails."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from windvane.data import ImageData, longtail_counts, train_and_held_out
from windvane.data.shuffle import permutation, uniforms

from .conftest import colours


def some(n=20, **options):
    return ImageData(colours(n), labels=np.arange(n) % 4, label_names=list("abcd"), **options)


def test_all_eight_bit_values_become_the_documented_floats_and_come_back():
    every = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    data = ImageData(every)
    x = data.batch([0])
    np.testing.assert_allclose(x.numpy().ravel(), np.arange(256) / 127.5 - 1, rtol=0, atol=6e-8)
    assert x.min() == -1 and x.max() == 1 and x.dtype == torch.float32
    np.testing.assert_array_equal(ImageData(x.numpy()).pixels([0]), every)


def test_float_pixels_round_to_the_nearest_level():
    x = np.array([-1, -1 + 0.4 / 127.5, -1 + 0.6 / 127.5, 0.0, 1], np.float32).reshape(1, 1, 1, 5)
    np.testing.assert_array_equal(ImageData(x).pixels([0]).ravel(), [0, 0, 1, 128, 255])


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_every_kind_of_index_gives_the_same_rows(tmp_path, on_disk, dtype):
    store = colours(12)
    if dtype == np.float32:
        store = (store / 127.5 - 1).astype(np.float32)
    if on_disk:
        np.save(tmp_path / "x.npy", store)
        store = np.load(tmp_path / "x.npy", mmap_mode="r")
    data = ImageData(store)
    whole = data.batch(slice(None))
    order = [5, 0, 11, 5]
    mask = torch.zeros(12, dtype=torch.bool)
    mask[[0, 5, 11]] = True
    for view, base in ((data, torch.arange(12)), (data.subset([3, 1, 7, 9, 2, 0, 4, 5, 6, 8, 10, 11]), None)):
        rows = base if base is not None else torch.tensor([3, 1, 7, 9, 2, 0, 4, 5, 6, 8, 10, 11])
        for indices in (order, torch.tensor(order), np.array(order)):
            assert torch.equal(view.batch(indices), whole[rows[order]])
        assert torch.equal(view.batch(slice(2, 9, 3)), whole[rows[2:9:3]])
        assert torch.equal(view.batch(mask), whole[rows[mask]])
        assert torch.equal(view[-1], whole[rows[-1]])
        assert torch.equal(view.batch([-12]), whole[rows[:1]])
        assert torch.equal(torch.stack(list(view)), whole[rows])
    assert data.batch([]).shape == (0, 3, 6, 8)


def test_a_batch_is_a_copy():
    data = ImageData(np.zeros((3, 1, 2, 2), np.float32))
    data.batch(slice(None)).fill_(1)
    data.batch([0]).fill_(1)
    assert data.batch(slice(None)).abs().max() == 0


def test_indices_out_of_range_or_of_another_kind():
    data = some(5)
    for bad in ([5], [-6]):
        with pytest.raises(IndexError, match=f"index {bad[0]} is out of range for 5 rows"):
            data.batch(bad)
    for bad in (torch.tensor([0.5]), torch.zeros(4, dtype=torch.bool), [[0, 1]]):
        with pytest.raises(ValueError, match="indices must be"):
            data.batch(bad)


def test_batches_are_quick():
    data = ImageData(np.zeros((20000, 3, 32, 32), np.uint8))
    rows = torch.randperm(20000, generator=torch.Generator().manual_seed(0))[:4096].view(-1, 128)
    begin = time.process_time()
    for batch in rows:
        data.batch(batch)
    # Vectorised: about 0.4 ms a batch of 128; image by image would be above 5.
    assert (time.process_time() - begin) / len(rows) < 3e-3


def test_fingerprint_follows_content_and_nothing_else(tmp_path):
    store = colours(6)
    data = ImageData(store)
    np.save(tmp_path / "elsewhere.npy", store)
    on_disk = np.load(tmp_path / "elsewhere.npy", mmap_mode="r")
    same = ImageData(on_disk, labels=[0] * 6, names=list("abcdef"))
    assert data.fingerprint == same.fingerprint
    changed = store.copy()
    changed[3, 1, 2, 2] ^= 1
    prints = [
        data.fingerprint,
        ImageData(changed).fingerprint,
        ImageData(store.reshape(6, 3, 8, 6)).fingerprint,
        ImageData((store / 127.5 - 1).astype(np.float32)).fingerprint,
        data.subset([1, 0, 2, 3, 4, 5]).fingerprint,
        data.subset([0, 1, 2, 3, 4]).fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert data.subset([2, 4]).fingerprint == ImageData(store[[2, 4]]).fingerprint


def test_fingerprint_does_not_depend_on_chunks(monkeypatch):
    whole = ImageData(colours(11)).fingerprint
    monkeypatch.setattr("windvane.data.images._CHUNK_BYTES", 300)
    assert ImageData(colours(11)).fingerprint == whole


def test_subset_carries_labels_and_names_and_nests():
    data = some(names=[f"n{i}" for i in range(20)])
    part = data.subset([7, 3, 12]).subset([2, 0])
    assert part.names == ["n12", "n7"] and part.labels.tolist() == [0, 3]
    assert part.label_counts().tolist() == [1, 0, 0, 1]
    assert torch.equal(part.batch(slice(None)), data.batch([12, 7]))
    assert torch.equal(data.subset([-1])[0], data[19])
    assert data.subset(slice(4, None, 5)).names == ["n4", "n9", "n14", "n19"]


@given(st.integers(2, 200), st.integers(0, 2**63 - 1), st.lists(st.floats(0.05, 1), min_size=1, max_size=4))
def test_split_is_disjoint_sized_and_repeatable(n, seed, weights):
    shares = [w / max(sum(weights), 1) for w in weights]
    data = ImageData(np.arange(n, dtype=np.float32)[:, None])
    try:
        parts = data.split(shares, seed)
    except ValueError as error:
        assert "non-empty" in str(error) and min(shares) * n < 1.5
        return
    rows = [set(part.names) for part in parts]
    assert sum(map(len, rows)) == len(set().union(*rows))
    for part, share in zip(parts, shares):
        assert abs(len(part) - share * n) <= 1
    if abs(sum(shares) - 1) < 1e-12:
        assert sum(map(len, rows)) == n
    assert [p.names for p in data.split(shares, seed)] == [p.names for p in parts]


def test_split_depends_on_the_seed_and_is_fixed_for_ever():
    data = ImageData(np.zeros((10, 1), np.float32))
    assert data.split((0.5, 0.5), 0)[0].names != data.split((0.5, 0.5), 1)[0].names
    # Raw bits of PCG64, whose stream NumPy guarantees: this order must never change.
    assert permutation(10, 0).tolist() == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]
    with pytest.raises(ValueError, match="seed"):
        permutation(3, -1)


def test_split_refuses_what_is_no_split():
    data = some(10)
    for bad in ((), (0.5, 0.6), (-0.1, 0.5), (0, 1), (0.99, 0.01)):
        with pytest.raises(ValueError, match="fractions|parts"):
            data.split(bad)


def test_uniforms_are_uniform():
    u = uniforms((4000,), 3)
    assert 0 <= u.min() and u.max() < 1
    # Kolmogorov distance beyond 1.95 / sqrt(n) has probability 0.001.
    assert np.abs(np.sort(u) - (np.arange(4000) + 0.5) / 4000).max() < 1.95 / np.sqrt(4000)


def test_train_and_held_out_are_everything():
    train, held = train_and_held_out(some(30))
    assert len(train) == 20 and len(held) == 10
    assert not set(train.names) & set(held.names)
    with pytest.raises(ValueError, match="held_out"):
        train_and_held_out(some(30), 1.0)


def test_longtail_counts_by_formula():
    assert longtail_counts(np.full(3, 100), 100).tolist() == [100, 10, 1]
    assert longtail_counts(np.full(5, 50), 5, "linear").tolist() == [50, 40, 30, 20, 10]
    assert longtail_counts(np.full(10, 5000), 100).tolist() == [
        int(5000 * 100 ** (-k / 9) + 1e-9) for k in range(10)
    ]
    assert longtail_counts(np.array([7, 7]), 1).tolist() == [7, 7]
    # The second class is too small for scale 100, so all shrink and the ratio stays.
    assert longtail_counts(np.array([100, 4, 100]), 100, "exponential").tolist() == [40, 4, 1]
    for bad in ({"ratio": 0.5}, {"ratio": float("nan")}, {"ratio": 2, "kind": "cubic"}):
        with pytest.raises(ValueError, match="ratio|kind"):
            longtail_counts(np.full(3, 10), **bad)
    with pytest.raises(ValueError, match="every class"):
        longtail_counts(np.array([3, 0]), 2)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=12), st.floats(1, 200), st.booleans())
def test_longtail_counts_are_possible_and_fall(available, ratio, linear):
    counts = longtail_counts(np.array(available), ratio, "linear" if linear else "exponential")
    assert np.all(counts >= 1) and np.all(counts <= available) and np.all(np.diff(counts) <= 0)


def test_longtail_subset_has_those_counts_and_depends_on_the_seed():
    data = ImageData(np.zeros((400, 1), np.float32), labels=np.arange(400) % 4, label_names=list("abcd"))
    tail = data.subsample_longtail(27, seed=1)
    assert tail.label_counts().tolist() == [100, 33, 11, 3]
    assert tail.names == data.subsample_longtail(27, seed=1).names
    assert tail.names != data.subsample_longtail(27, seed=2).names
    assert all(int(name) % 4 == label for name, label in zip(tail.names, tail.labels.tolist()))
    with pytest.raises(ValueError, match="no labels"):
        ImageData(np.zeros((4, 1), np.float32)).subsample_longtail(2)


def test_channel_statistics_equal_numpy(monkeypatch):
    monkeypatch.setattr("windvane.data.images._CHUNK_BYTES", 400)
    store = colours(9)
    mean, std = ImageData(store).subset(range(1, 9)).channel_statistics()
    x = store[1:] / 127.5 - 1
    np.testing.assert_allclose(mean, x.mean((0, 2, 3)), atol=1e-7)
    np.testing.assert_allclose(std, x.std((0, 2, 3)), atol=1e-7)
    vectors = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    np.testing.assert_allclose(ImageData(vectors).channel_statistics()[1], vectors.std(0), rtol=1e-6)


def test_wrong_constructions_are_refused():
    store = colours(3)
    for arguments, message in (
        ({"store": np.zeros(3, np.uint8)}, "shape"),
        ({"store": store.astype(np.int64)}, "int64"),
        ({"store": store.astype(np.float32)}, r"\[-1, 1\], got values from"),
        ({"store": np.full((1, 1, 1, 1), np.nan, np.float32)}, r"\[-1, 1\]"),
        ({"store": store, "labels": [0, 1]}, "3 integers"),
        ({"store": store, "labels": [0.0, 1.0, 2.0]}, "3 integers"),
        ({"store": store, "labels": [0, 1, 2], "label_names": ["a", "b"]}, "0 to 1, got 0 to 2"),
        ({"store": store, "labels": [0, 1, -2]}, "-1"),
        ({"store": store, "names": ["a"]}, "1 names for 3 rows"),
    ):
        with pytest.raises(ValueError, match=message):
            ImageData(**arguments)
    with pytest.raises(ValueError, match="only images"):
        ImageData(np.zeros((2, 3), np.float32)).pixels([0])
