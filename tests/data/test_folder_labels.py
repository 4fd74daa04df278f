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
        (["holiday", "birthday", "misc"], False),
        (["Urlaub", "garden", "rome"], False),
        (["train", "test"], False),
        (["images", "masks"], False),
        (["mask", "no mask"], True),
        (["misc", "cat", "dog"], True),
        (["tripod", "partridge"], True),
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


def albums(folders, file):
    return [f"{folder}/{file(k, n)}" for k, folder in enumerate(folders) for n in range(9)]


def test_photographs_under_a_cameras_names_are_in_albums():
    folders = ["grandma", "garden", "rome"]
    for file in (
        lambda k, n: f"IMG_{k}{n:03}.JPG",
        lambda k, n: f"DSC0{k}{n:03}.jpg",
        lambda k, n: f"P10{k}0{n:03}.JPG",
        lambda k, n: f"2019071{k}_1203{n:02}.jpg",
        lambda k, n: f"PXL_2023061{k}_0801{n:02}.jpg",
        lambda k, n: f"IMG-2019071{k}-WA00{n:02}.jpg",
    ):
        assert "a camera's names" in (why_no_classes(albums(folders, file)) or ""), file(0, 0)
    # A data set counts anew in each folder, has names of its own, or is mostly of other names.
    for file in (
        lambda k, n: f"IMG_{n:04}.JPG",
        lambda k, n: f"img_{k}{n:03}.jpg",
        lambda k, n: f"{k}{n:05}.jpg",
        lambda k, n: f"IMG_{k}{n:03}.JPG" if n < 4 else f"{n}.jpg",
    ):
        assert why_no_classes(albums(folders, file)) is None, file(0, 0)


def test_folders_of_a_hash_are_no_classes():
    assert "hexadecimal" in (why_no_classes(albums([f"{k:02x}" for k in range(16)], lambda k, n: n)) or "")
    assert why_no_classes(albums([f"{k:02x}" for k in range(10)], lambda k, n: n)) is None
