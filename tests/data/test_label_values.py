"""What in a label column or array is a class, and what is not: each said, none an error of ours."""

import io
import warnings
from datetime import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from windvane.data import from_arrays, from_parquet, open_data
from windvane.data.labels import to_ids

PIXELS = np.zeros((4, 5, 5), np.uint8)


def png(level):
    buffer = io.BytesIO()
    Image.new("L", (4, 4), level).save(buffer, "PNG")
    return buffer.getvalue()


def table(path, labels, kind=None, *, pictures=None):
    pq.write_table(
        pa.table({"image": pictures or [png(i) for i in range(4)], "label": pa.array(labels, kind)}), path
    )
    return path


@pytest.mark.parametrize(
    ("labels", "kind", "ids", "names"),
    [
        ([39_000_117, 7, 39_000_117, 12], pa.int64(), [2, 0, 2, 1], ["7", "12", "39000117"]),
        ([2**63 + 1, 2**63, None, 5], pa.uint64(), [2, 1, -1, 0], ["5", str(2**63), str(2**63 + 1)]),
        ([Decimal(2), Decimal(0), None, Decimal(2)], pa.decimal128(5, 1), [2, 0, -1, 2], None),
        ([999, 0, 1, 2], pa.int64(), [999, 0, 1, 2], None),
    ],
    ids=["sparse", "beyond int64", "decimal", "below a thousand"],
)
def test_labels_of_a_column(tmp_path, labels, kind, ids, names):
    data = from_parquet(table(tmp_path / "a.parquet", labels, kind), progress=False)
    assert data.labels.tolist() == ids and data.label_names == names


@pytest.mark.parametrize(
    ("labels", "kind", "said"),
    [
        ([datetime(2020, 1, day) for day in (1, 2, 3, 4)], None, "'label' holds timestamp"),
        ([[1], [2], [3], [1]], None, "'label' holds list"),
        ([Decimal("0.5")] * 4, pa.decimal128(5, 1), "such as 0.5 are no classes"),
    ],
    ids=["times", "lists", "fractions"],
)
def test_what_is_no_class_is_said(tmp_path, labels, kind, said):
    path = table(tmp_path / "a.parquet", labels, kind)
    with pytest.warns(UserWarning, match=said):
        assert from_parquet(path, progress=False).labels is None


def test_a_view_of_bytes_is_a_column_of_images(tmp_path):
    views = pa.array([png(i) for i in range(4)], pa.binary_view())
    assert len(from_parquet(table(tmp_path / "a.parquet", [0, 1, 0, 1], pictures=views), progress=False)) == 4


def test_rows_with_a_single_one_are_classes_and_others_are_none():
    hot = np.eye(3)[[2, 0, 1, 2]]
    assert from_arrays(PIXELS, hot).labels.tolist() == [2, 0, 1, 2]
    for rows in (hot * 0.5, hot[:, :1], np.ones((4, 3)), np.zeros((4, 3, 2))):
        with pytest.warns(UserWarning, match=r"labels of shape \(4, .* are no classes"):
            assert from_arrays(PIXELS, rows).labels is None


def test_bytes_are_texts_and_objects_are_no_classes():
    assert to_ids([b"cat", b"dog", None]) == ([0, 1, -1], ["cat", "dog"])
    with pytest.warns(UserWarning, match="such as 2020-01-01"):
        assert to_ids(np.array(["2020-01-01"], "M8[D]").tolist()) == (None, None)


def test_columns_layout_and_range_can_be_named(tmp_path):
    pq.write_table(
        pa.table({"a": [png(1)] * 3, "b": [png(200)] * 3, "kind": [0, 1, 0]}), tmp_path / "two.parquet"
    )
    with pytest.raises(ValueError, match="several columns"):
        open_data(tmp_path / "two.parquet", progress=False)
    data = open_data(tmp_path / "two.parquet", image_column="b", label_column="kind", progress=False)
    assert data.pixels([0]).max() == 200 and data.labels.tolist() == [0, 1, 0]
    deep = np.full((2, 3, 8, 3), 65535, np.uint16)
    np.save(tmp_path / "deep.npy", deep)
    found = open_data(tmp_path / "deep.npy", layout="NHWC", value_range=(0, 65535))
    assert found.shape == (3, 3, 8) and found.batch([0]).min() == 1


def test_a_text_file_is_not_said_to_be_loadable_after_all(tmp_path):
    (tmp_path / "a.npy").write_text("hello")
    with pytest.raises(ValueError, match="holds no numbers, or Python objects") as caught:
        open_data(tmp_path / "a.npy")
    assert "allow_pickle" not in str(caught.value)


def test_an_empty_table_is_said_to_be_empty(tmp_path):
    empty = pa.table({"image": pa.array([], pa.binary())})
    pq.write_table(empty, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="there are no images in"), warnings.catch_warnings():
        open_data(tmp_path / "a.parquet", progress=False)
