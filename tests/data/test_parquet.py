"""Parquet in the hub's layout, and the hub's own package on a local stand-in."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from windvane.data import ImageData, MissingPackage, from_hub, from_parquet, open_data, to_parquet

from .conftest import colours, encoded, save

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def cell(picture, path=None):
    return {"bytes": encoded(picture.transpose(1, 2, 0)), "path": path}


def write(path, columns, names=None, **options):
    table = pa.table(columns)
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
        meta = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(meta)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


PICTURES = colours(10)


def test_hub_layout_with_class_names_over_several_row_groups(tmp_path):
    path = write(
        tmp_path / "x.parquet",
        {"label": list(range(5)) * 2, "image": [cell(p) for p in PICTURES]},
        list("abcde"),
        row_group_size=3,
    )
    data = from_parquet(path)
    np.testing.assert_array_equal(data.pixels(slice(None)), PICTURES)
    assert data.labels.tolist() == list(range(5)) * 2 and data.label_names == list("abcde")
    assert data.names == [f"x.parquet:{i}" for i in range(10)]
    assert from_parquet(path, labels=False).labels is None
    assert from_parquet(path, 4, 1).shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("image", "label"), [("img", "fine_label"), ("photo", "labels"), ("image", "target")]
)
def test_columns_are_found_by_type_and_usual_name(tmp_path, image, label):
    columns = {"caption": ["x"] * 10, image: [cell(p) for p in PICTURES], label: list(range(10))}
    data = from_parquet(write(tmp_path / "x.parquet", columns))
    assert data.labels.tolist() == list(range(10)) and len(data) == 10


def test_plain_binary_and_text_labels(tmp_path):
    columns = {
        "image": [cell(p)["bytes"] for p in PICTURES],
        "label": ["dog", "cat", None, "dog", "ape", "cat", "cat", "dog", "ape", "ape"],
    }
    data = from_parquet(write(tmp_path / "x.parquet", columns))
    assert data.label_names == ["ape", "cat", "dog"]
    assert data.labels.tolist() == [2, 1, -1, 2, 0, 1, 1, 2, 0, 0]


def test_of_several_image_columns_the_usual_name_wins(tmp_path):
    cells = [cell(p) for p in PICTURES]
    path = write(tmp_path / "x.parquet", {"annotation": cells[::-1], "image": cells, "thumb": cells[::-1]})
    np.testing.assert_array_equal(from_parquet(path).pixels(slice(None)), PICTURES)


def test_columns_can_be_chosen_and_wrong_choices_list_what_is_there(tmp_path):
    cells = [cell(p) for p in PICTURES]
    columns = {"left": cells, "right": cells[::-1], "a": [0] * 10, "b": list(range(10))}
    path = write(tmp_path / "x.parquet", columns)
    with pytest.raises(ValueError, match=r"several columns hold image files .*left \(struct"):
        from_parquet(path)
    data = from_parquet(path, image_column="right", label_column="b")
    np.testing.assert_array_equal(data.pixels(slice(None)), PICTURES[::-1])
    assert data.labels.tolist() == list(range(10))
    assert from_parquet(path, image_column="right").labels is None
    with pytest.raises(ValueError, match=r"'b' holds no image files; possible: \['left', 'right'\]"):
        from_parquet(path, image_column="b")
    with pytest.raises(ValueError, match=r"'left' holds no labels; possible: \['a', 'b'\]"):
        from_parquet(path, image_column="left", label_column="left")
    with pytest.raises(ValueError, match=r"no column holds image files .*a \(int64\)"):
        from_parquet(write(tmp_path / "y.parquet", {"a": [1]}))


def test_bad_rows_are_named_and_counted(tmp_path):
    cells = [cell(p) for p in PICTURES[:6]]
    cells[1] = {"bytes": cells[1]["bytes"][:60], "path": "cut.png"}
    cells[3] = {"bytes": None, "path": None}
    cells[4] = {"bytes": b"text", "path": None}
    path = write(tmp_path / "x.parquet", {"image": cells, "label": [0, 1, 2, 3, 4, 5]})
    data = from_parquet(path)
    assert data.names == ["x.parquet:0", "x.parquet:2", "x.parquet:5"]
    assert data.labels.tolist() == [0, 2, 5]
    assert [(n, why.split(":")[0]) for n, why in data.scan.unreadable] == [
        ("x.parquet:1 (cut.png)", "truncated file"),
        ("x.parquet:3", "no data"),
        ("x.parquet:4", "not an image"),
    ]
    with pytest.raises(ValueError, match=r"3 images of 6 .*x\.parquet:1 \(cut\.png\)"):
        from_parquet(path, strict=True)


def test_pictures_beside_the_file_are_read_by_path(tmp_path):
    save(tmp_path / "pics/a.png", PICTURES[0])
    cells = pa.array(
        [{"bytes": None, "path": "pics/a.png"}, {"bytes": None, "path": "pics/gone.png"}],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    data = from_parquet(write(tmp_path / "x.parquet", {"image": cells}))
    np.testing.assert_array_equal(data.pixels([0])[0], PICTURES[0])
    assert data.scan.unreadable == [("x.parquet:1 (pics/gone.png)", "no such file")]


def test_folder_of_shards_pattern_and_file_agree(tmp_path):
    for k, rows in enumerate((slice(0, 4), slice(4, 10))):
        cells = [cell(p) for p in PICTURES[rows]]
        write(tmp_path / f"data/train-{k}.parquet", {"image": cells, "label": [k] * len(cells)}, ["x", "y"])
    write(tmp_path / "data/more/test-0.parquet", {"image": [cell(PICTURES[0])], "label": [0]})
    write(tmp_path / "data/.hidden.parquet", {"other": [1]})
    pattern = from_parquet(f"{tmp_path}/data/train-*.parquet")
    np.testing.assert_array_equal(pattern.pixels(slice(None)), PICTURES)
    assert pattern.labels.tolist() == [0] * 4 + [1] * 6
    assert len(from_parquet(tmp_path / "data")) == 11
    with pytest.raises(ValueError, match="no parquet file at"):
        from_parquet(tmp_path / "none-*.parquet")
    write(tmp_path / "data/train-2.parquet", {"image": [cell(PICTURES[0])]})
    with pytest.raises(ValueError, match=r"train-2\.parquet' has no column \['label'\]"):
        from_parquet(f"{tmp_path}/data/train-*.parquet")


def test_damaged_parquet_is_named(tmp_path):
    path = write(tmp_path / "x.parquet", {"image": [cell(p) for p in PICTURES]})
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    with pytest.raises(ValueError, match=r"x\.parquet' cannot be read as parquet"):
        from_parquet(path)
    path.write_bytes(whole[:50] + bytes(600) + whole[650:])
    with pytest.raises(ValueError, match=r"x\.parquet"):
        from_parquet(path)


def test_cache_spares_the_decoding_and_keeps_labels(tmp_path, monkeypatch):
    path = write(
        tmp_path / "x.parquet", {"image": [cell(p) for p in PICTURES], "label": [1, 0] * 5}, ["a", "b"]
    )
    first = from_parquet(path, cache=tmp_path / "cache")
    monkeypatch.setattr("windvane.data.decode.Decoder.read_handle", None)
    second = from_parquet(path, cache=tmp_path / "cache")
    assert second.fingerprint == first.fingerprint and second.labels.tolist() == [1, 0] * 5
    assert second.label_names == ["a", "b"]


@pytest.mark.parametrize("with_labels", [True, False])
def test_export_and_reopen_is_the_same_data(tmp_path, with_labels):
    labels = {"labels": [0, 1, -1] * 200, "label_names": ["é", "b"]} if with_labels else {}
    data = ImageData(colours(600, (3, 4)), names=[f"n/{i}" for i in range(600)], **labels)
    back = open_data(to_parquet(data, tmp_path / "x.parquet"))
    assert back.fingerprint == data.fingerprint and back.names == data.names
    assert back.label_names == data.label_names
    assert (back.labels is None) if not with_labels else back.labels.tolist() == data.labels.tolist()


def test_missing_pyarrow_names_the_extra(tmp_path, monkeypatch):
    path = write(tmp_path / "x.parquet", {"image": [cell(PICTURES[0])]})
    for module in [m for m in sys.modules if m.split(".")[0] == "pyarrow"]:
        monkeypatch.setitem(sys.modules, module, None)
    for call in (
        lambda: from_parquet(path),
        lambda: to_parquet(ImageData(PICTURES), tmp_path / "y.parquet"),
    ):
        with pytest.raises(ValueError, match=r"pyarrow.*windvane\[data\].*folder") as caught:
            call()
        assert isinstance(caught.value, MissingPackage) and isinstance(caught.value, ImportError)


@pytest.mark.skipif("WINDVANE_DATA" not in os.environ, reason="WINDVANE_DATA names no folder")
def test_real_parquet():
    data = from_parquet(Path(os.environ["WINDVANE_DATA"]) / "cifar10-test.parquet")
    assert data.shape == (3, 32, 32) and data.label_counts().tolist() == [1000] * 10
    assert data.label_names[:3] == ["airplane", "automobile", "bird"] and not data.scan.unreadable


datasets = pytest.importorskip("datasets")


def hub_set():
    features = datasets.Features(
        {
            "img": datasets.Image(),
            "label": datasets.ClassLabel(names=["no", "yes"]),
            "id": datasets.Value("string"),
        }
    )
    cells = [{"bytes": encoded(p.transpose(1, 2, 0)), "path": f"{i}.png"} for i, p in enumerate(PICTURES)]
    cells[4]["bytes"] = b"garbage"
    return datasets.Dataset.from_dict(
        {"img": cells, "label": [0, 1] * 5, "id": ["x"] * 10}, features=features
    )


def test_hub_data_are_read_through_datasets(monkeypatch, tmp_path):
    asked = []

    def load(name, config, *, split, revision):
        asked.append((name, config, split, revision))
        return hub_set()

    monkeypatch.setattr(datasets, "load_dataset", load)
    data = from_hub("some/pictures", "test", config="small", revision="main", cache=tmp_path)
    assert asked == [("some/pictures", "small", "test", "main")]
    kept = [i for i in range(10) if i != 4]
    np.testing.assert_array_equal(data.pixels(slice(None)), PICTURES[kept])
    assert data.labels.tolist() == [i % 2 for i in kept] and data.label_names == ["no", "yes"]
    assert data.scan.unreadable == [("some/pictures:test:4 (4.png)", "not an image: begins with b'garbage'")]
    assert open_data("hub:some/pictures:test", size=4, labels=False).shape == (3, 4, 4)
    assert asked[-1] == ("some/pictures", None, "test", None)
    assert len(open_data("hub:some/pictures")) == 9 and asked[-1][2] == "train"
    with pytest.raises(ValueError, match="1 images of 10"):
        from_hub("some/pictures", strict=True)


def test_hub_opens_a_local_folder_offline(tmp_path, monkeypatch):
    to_parquet(ImageData(PICTURES, labels=[0, 1] * 5), tmp_path / "set/train.parquet")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    data = from_hub(str(tmp_path / "set"), progress=False)
    np.testing.assert_array_equal(data.pixels(slice(None)), PICTURES)
    with pytest.raises(ValueError, match=r"cannot load .*split 'nope'.*give a folder of images"):
        from_hub(str(tmp_path / "set"), "nope")


@pytest.mark.parametrize(
    "error",
    [ConnectionError("Couldn't reach the hub\nand more"), FileNotFoundError("no such"), RuntimeError("")],
)
def test_no_network_names_the_offline_choices(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(ValueError, match=r"cannot load 'a/b'.*folder of images.*parquet") as caught:
        from_hub("a/b")
    assert "and more" not in str(caught.value)


def test_missing_datasets_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingPackage, match=r"datasets.*windvane\[data\].*folder"):
        from_hub("a/b")


@pytest.mark.parametrize(
    ("kind", "values", "ids", "names"),
    [
        ("dictionary<values=string, indices=int32>", ["b", "a", None], [1, 0, -1], ["a", "b"]),
        ("dictionary of numbers", [2, 0, 2], [2, 0, 2], None),
        ("bool", [True, False, None], [1, 0, -1], ["false", "true"]),
        ("double", [1.0, 0.0, float("nan")], [1, 0, -1], None),
        ("float", [1.0, 0.0, 2.0], [1, 0, 2], None),
        ("string_view", ["b", "a", "b"], [1, 0, 1], ["a", "b"]),
    ],
)
def test_label_columns_of_every_kind_are_read(tmp_path, kind, values, ids, names):

    kinds = {
        "bool": pa.bool_(),
        "double": pa.float64(),
        "float": pa.float32(),
        "string_view": pa.string_view(),
    }
    column = pa.array(values, kinds[kind]) if kind in kinds else pa.array(values).dictionary_encode()
    files = [encoded(one.transpose(1, 2, 0)) for one in colours(3)]
    try:
        pq.write_table(pa.table({"image": files, "label": column}), tmp_path / "a.parquet")
    except pa.ArrowNotImplementedError:
        pytest.skip("this pyarrow does not write the kind")
    data = from_parquet(tmp_path / "a.parquet", progress=False)
    assert data.labels.tolist() == ids and data.label_names == names


def test_fractions_are_no_classes_and_it_is_said(tmp_path):

    files = [encoded(one.transpose(1, 2, 0)) for one in colours(2)]
    pq.write_table(pa.table({"image": files, "label": [0.25, 1.0]}), tmp_path / "a.parquet")
    with pytest.warns(UserWarning, match=r"such as 0\.25 are no classes"):
        assert from_parquet(tmp_path / "a.parquet", progress=False).labels is None
