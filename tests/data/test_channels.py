"""Channels that follow the pictures: one where all are grey, three as soon as one is not."""

import numpy as np
import pytest

from windvane.data import from_folder, open_data
from windvane.data.row_store import RowStore

from .conftest import colours, encoded, save


@pytest.fixture
def grey(tmp_path):
    root, pictures = tmp_path / "grey", colours(5, (8, 8), 1)
    for k, picture in enumerate(pictures):
        save(root / f"{k}.png", picture)
    return root, pictures


@pytest.mark.parametrize("cached", [False, True])
def test_grey_pictures_keep_one_channel_unless_asked(grey, tmp_path, cached):
    root, pictures = grey
    cache = tmp_path / "cache" if cached else None
    for _ in range(2):
        data = open_data(root, cache=cache, progress=False)
        assert data.shape == (1, 8, 8)
        np.testing.assert_array_equal(data.pixels(slice(None)), pictures)
        three = open_data(root, channels=3, cache=cache, progress=False)
        np.testing.assert_array_equal(three.pixels(slice(None)), np.repeat(pictures, 3, 1))
        one = open_data(root, channels=1, cache=cache, progress=False)
        assert one.fingerprint == data.fingerprint != three.fingerprint


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("name", ["0a.png", "3a.png", "9.png"])
def test_one_coloured_picture_makes_all_three_channels(grey, tmp_path, cached, name):
    root, _ = grey
    save(root / name, colours(1, (8, 8))[0])
    cache = tmp_path / "cache" if cached else None
    for _ in range(2):
        data = open_data(root, cache=cache, progress=False)
        wanted = open_data(root, channels=3, progress=False)
        assert data.fingerprint == wanted.fingerprint
        np.testing.assert_array_equal(data.pixels(slice(None)), wanted.pixels(slice(None)))


def test_kinds_of_grey(tmp_path):
    values = colours(1, (8, 8), 1)[0, 0]
    kinds = {
        "deep": encoded(values.astype(np.uint16) * 257),
        "jpeg": encoded(values, "JPEG"),
        "bits": encoded(values > 99),
        "alpha": encoded(np.stack([values, values[::-1]], 2), mode="LA"),
    }
    for name, content in kinds.items():
        path = tmp_path / name / f"{name}.png"
        path.parent.mkdir()
        path.write_bytes(content)
        assert from_folder(path.parent, progress=False, size=None).shape == (1, 8, 8), name
    plain = tmp_path / "rgb" / "0.png"
    save(plain, np.full((3, 8, 8), 7, np.uint8))
    assert from_folder(plain.parent, None, progress=False).shape == (3, 8, 8)


def test_grey_pictures_of_parquet_keep_one_channel(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    pictures = colours(4, (8, 8), 1)
    cells = [{"bytes": encoded(picture[0]), "path": None} for picture in pictures]
    parquet.write_table(pa.table({"image": cells}), tmp_path / "a.parquet")
    data = open_data(tmp_path / "a.parquet", progress=False)
    np.testing.assert_array_equal(data.pixels(slice(None)), pictures)


def test_widening_leaves_the_rows_and_their_hash_as_if_written_so(tmp_path):
    rows = [np.repeat(row, 3, 0) for row in colours(300, (5, 7), 1)] + list(colours(3, (5, 7)))
    for path in (None, tmp_path / "rows.npy"):
        follow, plain = RowStore(path, capacity=303, follow=True), RowStore(capacity=303)
        for row in rows:
            follow.append(row)
            plain.append(row)
        (found, digest), (wanted, same) = follow.finish(), plain.finish()
        found = np.load(path) if found is None else found
        np.testing.assert_array_equal(found, wanted)
        assert digest == same
