"""Folders of photographs are labels only where they look like classes."""

import pytest

from windvane.data import ImageData, digits, from_folder, open_data
from windvane.data.folder_labels import why_no_classes
from windvane.text import describe

from .conftest import colours, save


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (["cat", "dog"], True),
        (["0", "1", "2"], True),
        (["n01440764", "n01443537"], True),
        (["2019", "2020"], False),
        (["2019-07 Italy", "wedding"], False),
        (["20190714", "20200101"], False),
        (["100CANON", "101CANON"], False),
        (["Album 1", "Album 2"], False),
    ],
)
def test_years_and_albums_are_no_classes(tmp_path, folders, classes):
    for name in folders:
        for k, picture in enumerate(colours(3, (8, 8))):
            save(tmp_path / name / f"{k}.png", picture)
    assert (open_data(tmp_path, progress=False).labels is not None) == classes
    assert open_data(tmp_path, labels="folders", progress=False).label_names == sorted(folders)
    assert open_data(tmp_path, labels="none", progress=False).labels is None
    assert (from_folder(tmp_path, None, progress=False).labels is not None) == classes


def test_folders_of_single_images_and_mostly_loose_ones_are_no_classes():
    assert "single" in (why_no_classes(["a/1", "b/1", "c/1", "d/1", "e/1", "e/2"]) or "")
    assert "none of them" in (why_no_classes(["a/1", "a/2", "b/1", "b/2", *"klmnopqrstuvwxyz"]) or "")


def test_only_the_embedded_digits_are_told_as_digits():
    known = digits().subset(range(60))
    assert "seven" in str(describe(known).words) and "slanted" in str(describe(known).words)
    others = ImageData(known.batch(slice(None)).numpy(), labels=known.labels)
    named = ImageData(
        known.batch(slice(None)).numpy(), labels=known.labels, label_names=[str(k) for k in range(10)]
    )
    for data in (others, named):
        words = str(describe(data).words)
        assert "seven" not in words and "slanted" not in words and "bold" not in words
