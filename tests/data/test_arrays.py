"""Arrays, the embedded data, resizing, and opening by name."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from windvane.data import (
    ImageData,
    digits,
    from_arrays,
    natural_patches,
    open_data,
    resized,
    to_folder,
    to_parquet,
)
from windvane.data.labels import to_ids

from .conftest import colours


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=4, max_dims=4, min_side=5, max_side=9)), st.data())
def test_layouts_hold_the_same_pixels(array, draw):
    channels = draw.draw(st.integers(1, 4))
    nchw = array[:, :channels]
    nhwc = np.moveaxis(nchw, 1, 3)
    for given_array, layout in ((nchw, None), (nchw, "NCHW"), (nhwc, None), (nhwc, "NHWC")):
        data = from_arrays(given_array, layout=layout)
        np.testing.assert_array_equal(data.pixels(slice(None)), nchw)
        assert data.fingerprint == from_arrays(nchw).fingerprint
    np.testing.assert_array_equal(from_arrays(nchw[:, 0]).pixels(slice(None)), nchw[:, :1])


@given(
    hnp.arrays(np.float64, (3, 1, 5, 5), elements=st.floats(0, 1)), st.floats(-50, 50), st.floats(0.01, 100)
)
def test_stated_ranges_are_mapped_linearly(unit, low, width):
    data = from_arrays(low + width * unit, value_range=(low, low + width))
    # Adding a large offset to float64 costs a little precision.
    np.testing.assert_allclose(data.batch(slice(None)).numpy(), 2 * unit - 1, atol=1e-5)


@given(hnp.arrays(np.float32, (2, 1, 5, 5), elements=st.floats(-1, 1, width=32)))
def test_detected_float_ranges(array):
    got = from_arrays(array).batch(slice(None)).numpy()
    if array.min() < 0:
        np.testing.assert_array_equal(got, array)
    else:
        np.testing.assert_allclose(got, 2 * array.astype(np.float64) - 1, atol=1e-6)


def test_other_value_kinds():
    assert from_arrays(np.array([[[True, False]]])).batch([0]).flatten().tolist() == [1, -1]
    half = torch.tensor([[[[-1.0, 0.5]]]], dtype=torch.bfloat16)
    assert from_arrays(half, layout="NCHW").batch([0]).flatten().tolist() == [-1, 0.5]
    sixteen = np.array([[[0, 65535]]], np.uint16)
    assert from_arrays(sixteen, value_range=(0, 65535)).batch([0]).flatten().tolist() == [-1, 1]
    counts = np.arange(17).reshape(1, 1, 17)
    np.testing.assert_allclose(
        from_arrays(counts, value_range=(0, 16)).batch([0]).flatten(), np.arange(17) / 8 - 1, atol=1e-7
    )
    eight = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    assert from_arrays(eight, value_range=(0, 255)).dtype == np.uint8


def test_vectors_keep_their_values_unless_told():
    points = np.array([[3.5, -7.0], [0.0, 2.0]])
    data = from_arrays(points, labels=["b", "a"])
    assert data.shape == (2,) and data.batch([0]).tolist() == [[3.5, -7.0]]
    assert data.labels.tolist() == [1, 0] and data.label_names == ["a", "b"]
    assert from_arrays(points, value_range=(-7, 7))[1].tolist() == pytest.approx([0, 2 / 7])
    assert from_arrays(np.array([[3, 4]])).batch([0]).tolist() == [[3, 4]]
    assert from_arrays(np.array([[3, 4]], np.uint8)).batch([0]).tolist() == [[3, 4]]


def test_what_cannot_be_told_or_is_wrong_says_so():
    f = np.float32
    for array, options, message in (
        (np.zeros((2, 3, 9, 3), np.uint8), {}, "layout .* cannot be told"),
        (np.zeros((2, 9, 9, 9), np.uint8), {}, "layout .* cannot be told"),
        (np.zeros(3, np.uint8), {}, "layout"),
        (np.zeros((2, 9, 9), np.uint8), {"layout": "NCHW"}, "does not fit"),
        (np.zeros((2, 9, 9), np.uint8), {"layout": "HWN"}, "does not fit"),
        (np.zeros((0, 9, 9), np.uint8), {}, "no data"),
        (np.zeros((2, 9, 9), int), {}, "int64 need value_range"),
        (np.full((2, 9, 9), 200, f), {}, "200 to 200; state value_range"),
        (np.full((2, 9, 9), -2, f), {}, "state value_range"),
        (np.full((2, 9, 9), np.nan, f), {}, "NaN"),
        (np.full((2, 2), np.inf, f), {}, "NaN or infinity"),
        (np.full((2, 9, 9), 3, f), {"value_range": (0, 2)}, r"3 to 3 exceed value_range \(0, 2\)"),
        (np.zeros((2, 9, 9), f), {"value_range": (1, 1)}, "low < high"),
        (np.zeros((2, 9, 9), complex), {"value_range": (0, 1)}, "real numbers"),
        (np.zeros((2, 9, 9), np.uint8), {"labels": [0, 1, 2]}, "2 integers"),
        (np.zeros((2, 9, 9), np.uint8), {"labels": ["a", "c"], "label_names": ["a", "b"]}, "'c'"),
        (np.zeros((2, 9, 9), np.uint8), {"labels": [0, 2], "label_names": ["a", "b"]}, "2 class names"),
    ):
        with pytest.raises(ValueError, match=message):
            from_arrays(array, **options)


def test_labels_of_any_kind_become_ids():
    assert to_ids([2, None, 0]) == ([2, -1, 0], None)
    assert to_ids(["b", None, "a"]) == ([1, -1, 0], ["a", "b"])
    assert to_ids(["b", "a"], ["b", "a"]) == ([0, 1], ["b", "a"])
    assert to_ids([None, None]) == to_ids([-1, -1]) == to_ids([]) == (None, None)
    for bad in (["a", 1], [-2, 0], [True, "x"]):
        with pytest.raises(ValueError, match="labels"):
            to_ids(bad)


def test_files_of_arrays(tmp_path):
    store = colours(6, (9, 9))
    np.save(tmp_path / "x.npy", np.moveaxis(store, 1, 3))
    on_disk = open_data(tmp_path / "x.npy")
    assert isinstance(on_disk._store, np.memmap)
    np.testing.assert_array_equal(on_disk.pixels([4, 1]), store[[4, 1]])
    np.savez(tmp_path / "x.npz", images=store, labels=np.arange(6) % 2)
    both = open_data(str(tmp_path / "x.npz"))
    assert both.fingerprint == on_disk.fingerprint and both.labels.tolist() == [0, 1] * 3
    np.savez(tmp_path / "one.npz", anything=store)
    assert from_arrays(tmp_path / "one.npz").labels is None
    np.savez(tmp_path / "two.npz", p=store, q=store)
    with pytest.raises(ValueError, match=r"holds arrays \['p', 'q'\]"):
        from_arrays(tmp_path / "two.npz")
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    np.save(tmp_path / "object.npy", np.array([{}, 1], object))
    for name in ("bad.npy", "object.npy", "gone.npy"):
        with pytest.raises(ValueError, match=f"{name}' cannot be read"):
            from_arrays(tmp_path / name)
    (tmp_path / "bad.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:200])
    with pytest.raises(ValueError, match="cannot be read"):
        from_arrays(tmp_path / "bad.npz")


def test_digits_are_the_bundled_ones_exactly():
    from sklearn.datasets import load_digits

    data, bundle = digits(), load_digits()
    np.testing.assert_array_equal(data.batch(slice(None))[:, 0].numpy(), bundle.images / 8 - 1)
    assert data.labels.tolist() == bundle.target.tolist() and data.label_names == list("0123456789")
    assert open_data("digits").fingerprint == data.fingerprint
    assert open_data("digits", labels=False).labels is None


def test_resized_keeps_constants_means_and_bounds():
    data = digits(16)
    assert data.shape == (1, 16, 16) and data.batch(slice(None)).abs().max() <= 1
    flat = ImageData(np.full((2, 3, 8, 8), 77, np.uint8))
    np.testing.assert_array_equal(resized(flat, (4, 20)).pixels([1]), np.full((1, 3, 4, 20), 77))
    smooth = ImageData(np.linspace(-0.8, 0.8, 64, dtype=np.float32).reshape(1, 1, 8, 8))
    assert float(resized(smooth, 4).batch([0]).mean()) == pytest.approx(0, abs=1e-6)
    names = resized(ImageData(colours(2), labels=[1, 0], names=["p", "q"]), 4)
    assert names.names == ["p", "q"] and names.labels.tolist() == [1, 0]


def test_resized_channels():
    data = ImageData(colours(5))
    grey = resized(data, channels=1)
    luma = (data.pixels(slice(None)) * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(1)
    assert np.abs(grey.pixels(slice(None))[:, 0] - luma).max() <= 0.51
    three = resized(grey, channels=3).pixels(slice(None))
    np.testing.assert_array_equal(three, np.repeat(grey.pixels(slice(None)), 3, 1))
    assert resized(data, (6, 8), 3) is data
    with pytest.raises(ValueError, match="from 2 to 3"):
        resized(ImageData(np.zeros((1, 2, 4, 4), np.uint8)), channels=3)
    with pytest.raises(ValueError, match="only images"):
        resized(ImageData(np.zeros((1, 2), np.float32)), 4)


def test_natural_patches_are_fixed_real_and_coloured():
    data = natural_patches(60, 16, seed=3)
    assert natural_patches(60, 16, seed=3).fingerprint == data.fingerprint
    assert natural_patches(60, 16, seed=4).fingerprint != data.fingerprint
    longer = natural_patches(90, 16, seed=3)
    assert longer.subset(range(60)).fingerprint == data.fingerprint
    assert longer.label_names == ["china", "flower"] and longer.label_counts().min() > 20
    pixels = longer.pixels(slice(None)).astype(float)
    assert np.abs(pixels[:, 0] - pixels[:, 2]).mean() > 15, "red and blue differ"
    neighbours = np.corrcoef(pixels[..., 1:].ravel(), pixels[..., :-1].ravel())[0, 1]
    assert neighbours > 0.8, "neighbouring pixels of a photograph are alike"
    assert len({p.tobytes() for p in longer.pixels(slice(None))}) == 90
    assert natural_patches(2, (8, 24)).shape == (3, 8, 24)
    for bad in ({"n": 0}, {"size": 500}, {"size": 0}):
        with pytest.raises(ValueError, match="positive|exceeds"):
            natural_patches(**{"n": 2, **bad})


def test_patches_as_large_as_the_photographs_are_these_or_their_mirror_images():
    from sklearn.datasets import load_sample_images

    photographs = [picture.transpose(2, 0, 1) for picture in load_sample_images().images]
    data = natural_patches(12, (427, 640))
    mirrored = []
    for pixels, label in zip(data.pixels(slice(None)), data.labels.tolist()):
        mirrored.append(np.array_equal(pixels, photographs[label][:, :, ::-1]))
        assert mirrored[-1] or np.array_equal(pixels, photographs[label])
    assert 0 < sum(mirrored) < 12


def test_open_data_by_what_it_is(tmp_path):
    data = ImageData(colours(8, (9, 9)), labels=[0, 1] * 4, label_names=["a", "b"])
    to_folder(data, tmp_path / "folder")
    to_folder(data, tmp_path / "flat", labels=None)
    to_parquet(data, tmp_path / "shards/x.parquet")
    np.save(tmp_path / "x.npy", data.pixels(slice(None)))
    same = [tmp_path / "flat", tmp_path / "shards", tmp_path / "shards/x.parquet", tmp_path / "x.npy"]
    assert {open_data(spec).fingerprint for spec in same} == {data.fingerprint}
    assert open_data(f"{tmp_path}/shards/*.parquet").fingerprint == data.fingerprint
    assert open_data(tmp_path / "folder").labels.tolist() == [0] * 4 + [1] * 4
    assert open_data(tmp_path / "folder", labels=False).labels is None
    for spec in [*same, "digits", "natural:3"]:
        assert open_data(spec, size=(4, 6), channels=1).shape == (1, 4, 6)
    assert len(open_data("natural:7", size=8)) == 7


@pytest.mark.parametrize("spec", ["nowhere", "nowhere.parquet", "natural:x", "natural:", "hub:", "x.txt", ""])
def test_unknown_specs_list_what_works(tmp_path, monkeypatch, spec):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(ValueError, match="what works|no parquet file|natural:N|no images"):
        open_data(spec)
