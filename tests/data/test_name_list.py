"""Names of classes: from the file's own metadata, from a list, or from the folders."""

import numpy as np
import pytest

from windvane.data import ImageData, digits, open_data, to_parquet
from windvane.data.name_list import with_names

from .conftest import colours, save

GARMENTS = ["T-shirt/top", "Trouser", "Pullover"]


def numbered(names=None, labels=(0, 1, 2, 2)):
    return ImageData(colours(len(labels), (4, 4), 1), labels=list(labels), label_names=names)


def listed(tmp_path, text):
    path = tmp_path / "names.txt"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "own", "names"),
    [
        ("shirt\ntrouser\npullover\n", None, ["shirt", "trouser", "pullover"]),
        ("\ufeffshirt\r\ntrouser\r\npullover\r\n\r\n", None, ["shirt", "trouser", "pullover"]),
        ("shirt\ntrouser\npullover\nbag", None, ["shirt", "trouser", "pullover", "bag"]),
        ("tench, Tinca tinca\ngoldfish\nshark", None, ["tench, Tinca tinca", "goldfish", "shark"]),
        ("2,c\n0,tench, Tinca tinca\n1,b\n7,z", None, ["tench, Tinca tinca", "b", "c"]),
        ("id,name\n0,a\n1,b\n2,c", None, ["a", "b", "c"]),
        ("n2,b\nn1,a\nn3,c\nn9,z", ["n1", "n2", "n3"], ["a", "b", "c"]),
        ("0,a\n1,b\n2,c", ["x", "y", "z"], ["a", "b", "c"]),
        # Folders that are numbers come as texts do, 10 before 2, and are named in their own order.
        ("one\ntwo\nten", ["1", "10", "2"], ["one", "ten", "two"]),
        ("10,ten\n1,one\n2,two", ["1", "10", "2"], ["one", "ten", "two"]),
    ],
)
def test_a_list_names_classes_by_line_or_by_id(tmp_path, text, own, names):
    data = with_names(numbered(own), listed(tmp_path, text))
    assert data.label_names == names and data.names_from == "the list names.txt"
    assert data.labels.tolist() == [0, 1, 2, 2]
    assert data.subset([1]).names_from == "the list names.txt"


@pytest.mark.parametrize(
    ("text", "own", "why"),
    [
        ("a\nb", None, "has 2 names, and the data have 3 classes"),
        ("a\nb\nc\nd", ["x", "y", "z"], r"has 4 names, and the data have 3 classes \(x, y, z"),
        ("a\n\nc", None, "line 2 of .* is empty"),
        ("0,a\n1,b", None, "has no name for class 2"),
        ("n1,a\nn2,b", ["n1", "n2", "n3"], "has no name for class n3"),
        ("0,a\n1,b\n1,c\n2,d", None, "names class 1 twice"),
        ("0,a\n1,\n2,d", None, "has an empty name for class 1"),
        ("\n \n", None, "holds no names"),
    ],
)
def test_lists_that_do_not_fit_are_refused(tmp_path, text, own, why):
    with pytest.raises(ValueError, match=why):
        with_names(numbered(own), listed(tmp_path, text))


def test_lists_that_cannot_be_read_and_data_without_labels(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="no text in UTF-8"):
        with_names(numbered(), tmp_path / "binary")
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        with_names(numbered(), tmp_path / "nothing")
    with pytest.raises(ValueError, match='no labels to name; labels="folders"'):
        with_names(ImageData(colours(2, (4, 4))), listed(tmp_path, "a"))


def test_names_say_where_they_are_from(tmp_path):
    data = ImageData(colours(4, (4, 4)), labels=[0, 1, 2, 2], label_names=GARMENTS)
    to_parquet(data, tmp_path / "named.parquet", progress=False)
    named = open_data(tmp_path / "named.parquet", progress=False, cache=tmp_path / "cache")
    assert named.label_names == GARMENTS and named.names_from == "the metadata of column label"
    again = open_data(tmp_path / "named.parquet", progress=False, cache=tmp_path / "cache")
    assert again.names_from == "the metadata of column label"
    to_parquet(numbered(), tmp_path / "numbered.parquet", progress=False)
    bare = open_data(tmp_path / "numbered.parquet", progress=False)
    assert bare.label_names is None and bare.names_from is None
    over = open_data(tmp_path / "named.parquet", names=listed(tmp_path, "a\nb\nc"), progress=False)
    assert over.label_names == ["a", "b", "c"] and over.labels.tolist() == [0, 1, 2, 2]
    assert digits().names_from == digits(size=16).names_from == "the embedded digits"


def test_an_archive_may_hold_its_names(tmp_path):
    images, labels = np.zeros((3, 4, 4), np.float32), np.array([0, 1, 2])
    np.savez(tmp_path / "named.npz", images=images, labels=labels, label_names=np.array(GARMENTS))
    data = open_data(tmp_path / "named.npz")
    assert data.label_names == GARMENTS and data.names_from == "the names in the file"
    np.savez(tmp_path / "bare.npz", images=images, labels=labels)
    assert open_data(tmp_path / "bare.npz").names_from is None
    np.savez(tmp_path / "texts.npz", images=images, labels=np.array(["b", "a", "a"]))
    assert open_data(tmp_path / "texts.npz").names_from == "the values of the labels in the file"


def test_a_list_says_that_folders_are_classes(tmp_path):
    for name in ("2019", "2020"):
        for k, picture in enumerate(colours(3, (4, 4))):
            save(tmp_path / "data" / name / f"{k}.png", picture)
    path = listed(tmp_path, "2020,later\n2019,earlier")
    assert open_data(tmp_path / "data", progress=False).labels is None
    data = open_data(tmp_path / "data", names=path, progress=False)
    assert data.label_names == ["earlier", "later"] and data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match="no labels to name"):
        open_data(tmp_path / "data", names=path, labels="none", progress=False)
