"""Folders of images: pixels, labels, cache."""

import json
import os

import numpy as np
import pytest

from windvane.data import ImageData, from_folder, to_folder
from windvane.data.row_store import RowStore

from .conftest import colours, encoded, save


@pytest.fixture
def nested(tmp_path):
    root = tmp_path / "nested"
    pictures = colours(6, (8, 8))
    names = ["cat/1.png", "cat/2.png", "dog/1.png", "dog/sub/2.png", "dog/sub/3.png", "eel/1.png"]
    for name, picture in zip(names, pictures):
        save(root / name, picture)
    return root, names, pictures


def test_pixels_names_and_labels_of_a_nested_folder(nested):
    root, names, pictures = nested
    data = from_folder(root, 8)
    np.testing.assert_array_equal(data.pixels(slice(None)), pictures)
    assert data.names == names and data.label_names == ["cat", "dog", "eel"]
    assert data.labels.tolist() == [0, 0, 1, 1, 1, 2]
    assert data.scan.readable == names
    bare = from_folder(root, 8, labels=None)
    assert bare.labels is None and bare.label_names is None
    assert bare.fingerprint == data.fingerprint


def test_one_class_or_a_flat_folder_has_no_labels_and_loose_images_have_none(nested):
    root, _, pictures = nested
    assert from_folder(root / "dog", 8).labels is None
    assert from_folder(root.parent, 8).labels is None
    save(root / "loose.png", pictures[0])
    data = from_folder(root, 8)
    assert dict(zip(data.names, data.labels.tolist()))["loose.png"] == -1
    assert data.label_counts().tolist() == [2, 3, 1]


def test_a_class_of_unreadable_images_is_no_class(nested):
    root, _, _ = nested
    (root / "fish").mkdir()
    (root / "fish/1.png").write_bytes(b"")
    data = from_folder(root, 8)
    assert data.label_names == ["cat", "dog", "eel"] and len(data) == 6


def test_damaged_images_are_left_out_named_or_refused(damaged):
    root, reasons = damaged
    data = from_folder(root, (20, 10))
    assert data.names == ["good0.png", "good1.png", "good2.png"] and data.shape == (3, 20, 10)
    assert {name for name, _ in data.scan.unreadable} == set(reasons)
    with pytest.raises(ValueError, match=r"8 images of 11 .*cut\.jpg"):
        from_folder(root, 16, strict=True)
    for name in data.names:
        (root / name).unlink()
    with pytest.raises(ValueError, match=r"none of the 8 images .*cut\.jpg: truncated file"):
        from_folder(root, 16)


def test_without_a_size_all_must_have_the_same(nested):
    root, names, pictures = nested
    np.testing.assert_array_equal(from_folder(root, None).pixels(slice(None)), pictures)
    save(root / "zoo/wide.png", colours(1, (8, 9))[0])
    with pytest.raises(ValueError, match=r"cat/1\.png: 8 x 8, zoo/wide\.png: 8 x 9\); give size="):
        from_folder(root, None)


def forbid_decoding(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("an image was decoded")

    monkeypatch.setattr("windvane.data.decode.Decoder.read_handle", refuse)


def test_second_opening_decodes_nothing_and_is_equal(nested, damaged, tmp_path, monkeypatch):
    root = nested[0]
    for name in ("cut.jpg", "empty.png"):
        (root / name).write_bytes((damaged[0] / name).read_bytes())
    first = from_folder(root, 8, cache=tmp_path / "cache")
    fresh = from_folder(root, 8)
    forbid_decoding(monkeypatch)
    second = from_folder(root, 8, cache=tmp_path / "cache")
    for data in (first, second):
        assert isinstance(data._store, np.memmap)
        np.testing.assert_array_equal(data.pixels(slice(None)), fresh.pixels(slice(None)))
        assert data.fingerprint == fresh.fingerprint == ImageData(np.array(data._store)).fingerprint
        assert data.names == fresh.names and data.labels.tolist() == fresh.labels.tolist()
        assert data.label_names == fresh.label_names and data.scan == fresh.scan
    with pytest.raises(ValueError, match="2 images of 8"):
        from_folder(root, 8, cache=tmp_path / "cache", strict=True)
    moved = root.parent / "moved"
    root.rename(moved)
    assert from_folder(moved, 8, cache=tmp_path / "cache").scan.root == str(moved)
    with pytest.raises(AssertionError, match="decoded"):
        from_folder(moved, 8)


@pytest.mark.parametrize("change", ["add", "remove", "rewrite", "touch", "rename", "setting"])
def test_any_change_of_files_or_settings_reads_anew(nested, tmp_path, monkeypatch, change):
    root, names, _ = nested
    options = {"cache": tmp_path / "cache"}
    before = from_folder(root, 8, **options)
    path = root / names[0]
    if change == "add":
        save(root / "cat/3.png", colours(1, (8, 8), seed=9)[0])
    elif change == "remove":
        path.unlink()
    elif change == "rewrite":
        save(path, colours(1, (8, 8), seed=9)[0])
    elif change == "touch":
        os.utime(path, ns=(1, 1))
    elif change == "rename":
        path.rename(root / "cat/0.png")
    else:
        options["channels"] = 1
    after = from_folder(root, 8, **options)
    assert (after.fingerprint == before.fingerprint) == (change in ("touch", "rename"))
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2
    forbid_decoding(monkeypatch)
    assert from_folder(root, 8, **options).fingerprint == after.fingerprint


@pytest.mark.parametrize("damage", ["rows cut", "rows gone", "index cut", "index of another kind"])
def test_a_broken_cache_is_built_again(nested, tmp_path, damage):
    root = nested[0]
    good = from_folder(root, 8, cache=tmp_path / "cache").fingerprint
    rows, index = next((tmp_path / "cache").glob("*.npy")), next((tmp_path / "cache").glob("*.json"))
    if damage == "rows cut":
        rows.write_bytes(rows.read_bytes()[:-10])
    elif damage == "rows gone":
        rows.unlink()
    elif damage == "index cut":
        index.write_text(index.read_text()[:-10])
    else:
        index.write_text(json.dumps({"labels": None}))
    again = from_folder(root, 8, cache=tmp_path / "cache")
    assert again.fingerprint == good == ImageData(np.array(again._store)).fingerprint


def test_an_interrupted_reading_leaves_no_cache(nested, tmp_path, monkeypatch):
    from windvane.data import decode

    real = decode.Decoder.read_handle
    calls = []

    def stop(self, handle):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, handle)

    monkeypatch.setattr(decode.Decoder, "read_handle", stop)
    with pytest.raises(KeyboardInterrupt):
        from_folder(nested[0], 8, cache=tmp_path / "cache", workers=1)
    assert list((tmp_path / "cache").iterdir()) == []


def test_store_writes_what_numpy_reads(tmp_path):
    store = RowStore(tmp_path / "x.npy", capacity=50)
    rows = colours(7)
    for row in rows:
        store.append(row)
    _, fingerprint = store.finish()
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), rows)
    assert fingerprint == ImageData(rows).fingerprint
    with pytest.raises(ValueError, match="among rows of shape"):
        store.append(np.zeros((1, 2, 2), np.uint8))


def test_more_than_fits_into_memory_names_the_way_out():
    store = RowStore(capacity=10**14)
    with pytest.raises(ValueError, match=r"GiB of memory; give cache= a folder"):
        store.append(colours(1)[0])


@pytest.mark.parametrize("labels", ["folders", None])
def test_export_and_reopen_gives_identical_pixels(tmp_path, labels):
    data = ImageData(colours(23), labels=np.arange(23) % 3, label_names=["a b", "c/d", "é"])
    to_folder(data, tmp_path / "out", labels=labels)
    back = from_folder(tmp_path / "out", None)
    if labels is None:
        assert back.fingerprint == data.fingerprint and back.labels is None
        return
    assert back.label_names == ["a_b", "c_d", "é"]
    order = np.argsort(data.labels.numpy(), kind="stable")
    np.testing.assert_array_equal(back.pixels(slice(None)), data.pixels(order))
    assert back.labels.tolist() == data.labels.numpy()[order].tolist()


def test_export_refuses_to_mix_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    data = ImageData(colours(5), labels=[0, 1, 0, 1, -1], label_names=["x!", "x?"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a.txt").write_text("keep")
    for bad, message in (((data, tmp_path / "full"), "not an empty folder"),):
        with pytest.raises(ValueError, match=message):
            to_folder(*bad)
    with pytest.raises(ValueError, match="told apart"):
        to_folder(data, tmp_path / "new")
    for shape in ((2, 5), (2, 2, 4, 4)):
        with pytest.raises(ValueError, match="1 or 3 channels"):
            to_folder(ImageData(np.zeros(shape, np.float32)), tmp_path / "new")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("windvane.data.export._pngs", stop)
    with pytest.raises(KeyboardInterrupt):
        to_folder(data, tmp_path / "new", labels=None)
    assert [p.name for p in tmp_path.iterdir()] == ["full"]
    assert (tmp_path / "full/a.txt").read_text() == "keep"


def test_rows_without_a_label_lie_outside_the_class_folders(tmp_path):
    data = ImageData(colours(4), labels=[0, -1, 1, -1], label_names=["a", "b"])
    (tmp_path / "out").mkdir()
    back = from_folder(to_folder(data, tmp_path / "out"), None)
    assert dict(zip(back.names, back.labels.tolist())) == {
        "000001.png": -1,
        "000003.png": -1,
        "a/000000.png": 0,
        "b/000002.png": 1,
    }


def test_mixed_formats_of_one_picture_agree(tmp_path):
    picture = colours(1, (9, 9), seed=4)[0]
    for ending in ("png", "bmp", "tif", "ppm", "tga", "gif"):
        save(tmp_path / f"x.{ending}", picture)
    (tmp_path / "wrong-ending.jpg").write_bytes(encoded(picture.transpose(1, 2, 0), "PNG"))
    data = from_folder(tmp_path, 9)
    assert len(data) == 7
    np.testing.assert_array_equal(data.pixels(slice(None)), np.stack([picture] * 7))


def test_wrong_labels_argument(nested):
    with pytest.raises(ValueError, match="labels must be"):
        from_folder(nested[0], 8, labels="names")
