"""Features in shards: the same numbers however they were cut, shared out or interrupted; others refused."""

import json

import pytest
import torch

from tests.annotate.stand_ins import Projection, TensorImages, noise_images
from windvane.annotate.dense import Patches, dense_batches, sample_vectors
from windvane.annotate.feature_shards import FeatureShards, Manifest
from windvane.annotate.features import extract, extract_shards
from windvane.annotate.process_group import Group
from windvane.annotate.regions.finders import find_boxes, find_masks, find_objects
from windvane.annotate.regions.masks import PatchClusters, Stego


class Pretended(Group):
    """One of several processes that run one after the other and so never wait."""

    def first(self, make):
        return make()

    def wait(self):
        pass


def put(folder, data, extractor=None, **named):
    extractor = Projection() if extractor is None else extractor
    return extract_shards(extractor, data, folder, progress=False, **named)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(("shard", "batch_size"), [(1, 1), (8, 4), (8, 3), (40, 7), (23, 50), (None, 5)])
def test_shards_hold_the_features_in_order(shard, batch_size, tmp_path):
    data = noise_images(23)
    stored = put(tmp_path / "f", data, shard=shard, batch_size=batch_size)
    expected = extract(Projection(), data, batch_size=23, progress=False)
    torch.testing.assert_close(stored.tensor(), expected)
    assert stored.shape == (23, 6) and stored.missing() == []
    rows = torch.tensor([22, 0, 7, 7, 8])
    assert torch.equal(stored.batch(rows), stored.tensor()[rows])
    assert torch.equal(stored.batch(slice(5, 17)), stored.tensor()[5:17])
    again = FeatureShards.open(tmp_path / "f")
    assert torch.equal(again.tensor(), stored.tensor()) and again.manifest == stored.manifest


def test_dense_maps_are_kept_alike(tmp_path):
    data, extractor = noise_images(9, (2, 6, 5)), Patches(2, 1, channels=2, pad=False)
    stored = put(tmp_path / "f", data, extractor, shard=4, batch_size=3)
    assert stored.shape == (9, extractor.dim, 5, 4)
    assert torch.equal(stored.tensor(), extractor(data.images))
    with pytest.raises(ValueError, match="a place each"):
        put(tmp_path / "g", data, extractor, flip=True)


def test_half_precision_is_rounding_and_nothing_else(tmp_path):
    data = noise_images(5)
    exact = put(tmp_path / "a", data).tensor()
    for dtype in ("float16", "bfloat16"):
        kept = put(tmp_path / dtype, data, dtype=dtype).tensor()
        assert torch.equal(kept, exact.to(getattr(torch, dtype)).float()) and not torch.equal(kept, exact)
    with pytest.raises(ValueError, match="float32, float16, bfloat16, uint8, got 'float8'"):
        put(tmp_path / "x", data, dtype="float8")


@pytest.mark.parametrize("count", [2, 3, 7])
def test_any_number_of_processes_writes_the_same_files_each_image_once(count, tmp_path):
    data = noise_images(31)
    put(tmp_path / "alone", data, shard=4, batch_size=2)
    seen = []
    for rank in reversed(range(count)):
        extractor = Projection()
        put(tmp_path / "f", data, extractor, shard=4, batch_size=2, group=Pretended(rank, count))
        seen.append(extractor.seen)
        owned = {int(name[6:11]) % count for name in contents(tmp_path / "f") if name.startswith("shard")}
        assert owned == set(range(rank, count))
    assert sum(seen) == 31 and min(seen) >= 4
    assert contents(tmp_path / "f") == contents(tmp_path / "alone")


def test_what_is_there_is_not_computed_again(tmp_path):
    data = noise_images(30)
    before = contents((first := put(tmp_path / "f", data, shard=4, batch_size=4)).folder)
    for index in (2, 7):
        first.path(index).unlink()
    kept = {name: (tmp_path / "f" / name).stat().st_mtime_ns for name in contents(tmp_path / "f")}
    assert first.missing() == [2, 7]
    with pytest.raises(ValueError, match="shard-00002.safetensors is missing; extract"):
        first.tensor()
    extractor = Projection()
    # The shard size comes from the folder, so the default does not have to be repeated.
    put(tmp_path / "f", data, extractor, batch_size=4)
    assert extractor.seen == 4 + 2
    assert contents(tmp_path / "f") == before
    assert all((tmp_path / "f" / name).stat().st_mtime_ns == when for name, when in kept.items())
    put(tmp_path / "f", data, extractor, batch_size=4)
    assert extractor.seen == 6


def test_what_a_dead_process_left_half_written_is_cleared(tmp_path):
    data = noise_images(8)
    stored = put(tmp_path / "f", data, shard=4)
    stored.path(1).unlink()
    half = tmp_path / "f" / ".shard-00001.999999999-aa.windvane-tmp.safetensors"
    half.write_bytes(b"half")
    put(tmp_path / "f", data)
    assert not half.exists() and stored.missing() == []


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def swapped(path):
    path.write_bytes(path.with_name("shard-00001.safetensors").read_bytes())


def flipped(path):
    """One bit of the values: neither the header nor the length says anything."""
    levels = bytearray(path.read_bytes())
    levels[-7] ^= 4
    path.write_bytes(levels)


def zeroed(path):
    levels = path.read_bytes()
    path.write_bytes(levels[:-16] + bytes(16))


@pytest.mark.parametrize(
    "spoil",
    [cut, swapped, flipped, zeroed, lambda p: p.write_bytes(b"")],
    ids=["cut", "swapped", "flipped", "zeroed", "empty"],
)
def test_a_damaged_shard_is_named_and_only_it_is_computed_again(spoil, tmp_path):
    data = noise_images(20)
    stored = put(tmp_path / "f", data, shard=4)
    right = contents(tmp_path / "f")
    spoil(stored.path(3))
    with pytest.raises(ValueError, match=r"shard-00003.safetensors is damaged \("):
        stored.tensor()
    extractor = Projection()
    with pytest.warns(UserWarning, match="shard-00003.safetensors is computed again"):
        put(tmp_path / "f", data, extractor)
    assert extractor.seen == 4 and contents(tmp_path / "f") == right


def test_shards_of_other_features_are_refused_with_the_reason(tmp_path):
    data = noise_images(12)
    put(tmp_path / "f", data, shard=5)
    before = contents(tmp_path / "f")
    cases = [
        (dict(extractor=Projection(seed=1)), r"another version: projection#\w+, not projection#"),
        (dict(data=noise_images(12, seed=1)), "another images \\(fingerprint\\)|other images"),
        (dict(data=noise_images(12, (1, 4, 16))), r"another image size: \(1, 8, 8\), not \(1, 4, 16\)"),
        (dict(data=noise_images(11)), "another number of images: 12, not 11"),
        (dict(flip=True), "another mirror averaging: False, not True"),
        (dict(dtype="float16"), "another type: float32, not float16"),
        (dict(shard=6), "another shard size: 5, not 6"),
    ]
    for changed, said in cases:
        named = {"data": data, **changed}
        with pytest.raises(ValueError, match=said):
            put(tmp_path / "f", named.pop("data"), **named)
    assert contents(tmp_path / "f") == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "manifest.json"),
        ("[]", "manifest.json"),
        ('{"format": 9}', "format 9; this version reads 1"),
        ('{"format": 1}', "it has no 'extractor'"),
        (None, "shards of features, but manifest.json is missing"),
    ],
)
def test_damaged_manifests_are_refused_with_the_reason(text, said, tmp_path):
    data = noise_images(6)
    put(tmp_path / "f", data)
    if text is None:
        (tmp_path / "f" / "manifest.json").unlink()
    else:
        (tmp_path / "f" / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=said):
        put(tmp_path / "f", data)
    with pytest.raises(ValueError, match="missing" if text is None else said):
        FeatureShards.open(tmp_path / "f")


def test_a_damaged_manifest_in_a_cache_costs_time_and_is_no_error(tmp_path):
    data, extractor = noise_images(6), Projection()
    first = extract(extractor, data, cache=tmp_path, progress=False)
    (folder,) = tmp_path.glob("features-*")
    (folder / "manifest.json").write_text("{")
    with pytest.warns(UserWarning, match="features are computed again: .*damaged"):
        again = extract(extractor, data, cache=tmp_path, progress=False)
    assert torch.equal(first, again) and extractor.seen == 12


class Watched:
    """Images that are made when they are asked for, and note how many at once."""

    shape, fingerprint = (1, 8, 8), "watched"

    def __init__(self, n):
        self.n, self.most = n, 0

    def __len__(self):
        return self.n

    def batch(self, indices):
        rows = torch.arange(self.n)[indices]
        self.most = max(self.most, len(rows))
        return (rows % 251 / 125 - 1)[:, None, None, None].expand(-1, 1, 8, 8)


def test_images_are_asked_for_a_batch_at_a_time(tmp_path):
    data = Watched(5000)
    stored = put(tmp_path / "f", data, batch_size=100)
    assert data.most == 100 and stored.manifest.shard == 1000 and stored.count == 5
    torch.testing.assert_close(stored.tensor(), Projection()(data.batch(slice(0, 5000))))


def test_large_maps_make_small_shards(tmp_path):
    class Wide:
        name, dim, calls = "wide", 1 << 20, 0

        def __call__(self, images):
            return images.new_zeros(1, 1).expand(len(images), self.dim)

    stored = put(tmp_path / "f", Watched(40), Wide(), batch_size=4)
    assert stored.manifest.shard == 16 and stored.count == 3


def test_broken_extractors_are_named(tmp_path):
    class Broken(Projection):
        def __call__(self, images):
            made = super().__call__(images)
            made[images[:, 0, 0, 0] == images[0, 0, 0, 0]] = float("nan")
            return made

    data = noise_images(9)
    with pytest.raises(ValueError, match="not finite for image 0"):
        put(tmp_path / "f", data, Broken())
    assert put(tmp_path / "f", data).missing() == []
    wrong = Projection()
    wrong.dim = 5
    with pytest.raises(ValueError, match=r"returned shape \(9, 6\) for 9 images; expected \(9, 5\)"):
        put(tmp_path / "g", data, wrong)


def test_requests_that_cannot_be_met(tmp_path):
    data = noise_images(4)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        put(tmp_path / "f", data, batch_size=0)
    with pytest.raises(ValueError, match="2 processes need cache="):
        extract(Projection(), data, group=Pretended(0, 2))
    with pytest.raises(ValueError, match=r"rank must lie in 0\.\.1, got 2"):
        Group(2, 2)
    with pytest.raises(ValueError, match="n=4"):
        Manifest("e", "d", (1, 8, 8), 4, (), 1)
    with pytest.raises(ValueError, match="no features in"):
        FeatureShards.open(tmp_path / "nothing")
    stored = put(tmp_path / "h", data)
    with pytest.raises(ValueError, match=r"shard 0 has shape \(4, 6\), got \(3, 6\)"):
        stored.write(0, torch.zeros(3, 6))


def test_boxes_and_masks_are_kept_and_not_their_maps(tmp_path):
    class Counted(Patches):
        seen = 0

        def __call__(self, images):
            Counted.seen += len(images)
            return super().__call__(images)

    data, extractor = noise_images(11, (1, 10, 9)), Counted(2, 1, pad=False)
    plain = find_boxes(data, extractor, progress=False)
    objects = find_objects(data, extractor, progress=False)
    segmenter = PatchClusters(extractor, 3).fit(data, progress=False)
    masks = find_masks(data, segmenter, progress=False)
    for find, found in (
        (lambda **n: find_boxes(data, extractor, progress=False, **n).boxes, plain.boxes),
        (lambda **n: find_objects(data, extractor, progress=False, **n).masks, objects.masks),
        (lambda **n: find_masks(data, segmenter, progress=False, **n).masks, masks.masks),
    ):
        Counted.seen = 0
        assert torch.equal(find(cache=tmp_path, batch_size=4), found) and Counted.seen == 11
        # Again: read from the disk, whatever the batches are.
        assert torch.equal(find(cache=tmp_path, batch_size=3), found) and Counted.seen == 11
    sizes = sorted(path.stat().st_size for path in tmp_path.glob("features-*/shard-*"))
    assert len(sizes) == 3 and sizes[-1] < 11 * 90 + 300
    # Another method is another folder.
    find_boxes(data, extractor, method="ncut", cache=tmp_path, progress=False)
    assert Counted.seen == 22 and len(list(tmp_path.glob("features-*"))) == 4
    with pytest.raises(ValueError, match="2 processes need cache="):
        find_boxes(data, extractor, group=Pretended(0, 2), progress=False)


def test_kept_maps_come_in_batches(tmp_path):
    data, extractor = noise_images(11, (1, 10, 9)), Patches(2, 1, pad=False)
    found = list(dense_batches(extractor, data, cache=tmp_path, batch_size=4, progress=False))
    assert [rows for rows, _ in found] == [slice(0, 4), slice(4, 8), slice(8, 11)]
    assert torch.equal(torch.cat([maps for _, maps in found]), extractor(data.images))
    json.loads(next(tmp_path.glob("features-*/manifest.json")).read_text())


def test_fitted_segmenters_are_kept(tmp_path):
    """What a killed run had learnt is read again; damage is learnt again and said."""
    data = noise_images(12, (1, 8, 8))
    calls = []

    class Counted(Patches):
        def __call__(self, images):
            calls.append(len(images))
            return super().__call__(images)

    small = {"steps": 3, "probe_steps": 2, "codes": 4, "points": 3, "lift": 0.5}
    for make in (
        lambda seed: PatchClusters(Counted(3), 3, seed=seed, normalise=True, lift=0.3),
        lambda seed: Stego(Counted(3), 3, seed=seed, **small),
    ):
        plain = make(1).fit(data, progress=False)
        kept = make(1).fit(data, cache=tmp_path, progress=False)
        calls.clear()
        again = make(1).fit(data, cache=tmp_path, progress=False)
        assert not calls and plain.name == kept.name == again.name
        assert make(2).fit(data, cache=tmp_path, progress=False).name != kept.name
        calls.clear()
        for file in tmp_path.glob("segmenter-*/extractor.safetensors"):
            file.write_bytes(b"nothing")
        with pytest.warns(UserWarning, match="fitted again"):
            assert make(1).fit(data, cache=tmp_path, progress=False).name == kept.name
        # The features it was learnt from are still there.
        assert not calls


def test_vectors_are_drawn_from_as_many_images_as_are_wanted(tmp_path):
    data = TensorImages((torch.arange(50.0) / 50)[:, None, None, None].expand(50, 1, 6, 6).contiguous())
    drawn = sample_vectors(Patches(1), data, 20, seed=3, progress=False)
    owners = (drawn[:, 0] * 50).round().long().tolist()
    assert len(owners) == 20 and owners == sorted(set(owners)) and owners != list(range(20))
    kept = sample_vectors(Patches(1), data, 20, seed=3, batch_size=7, cache=tmp_path, progress=False)
    assert torch.equal(kept, drawn)
    assert not torch.equal(sample_vectors(Patches(1), data, 20, seed=4, progress=False), drawn)
