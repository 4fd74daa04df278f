"""Names of classes on the command line, the words that a text encoder learns of them, and what is said."""

import numpy as np
import pytest
import torch
import yaml

from tests.cli.conftest import shorten_trainings
from windvane.data import ImageData, digits, to_folder, to_parquet

FEW = {"n": 2, "steps": 2}
GARMENTS = ["T-shirt/top", "Trouser", "Bag"]


@pytest.fixture(autouse=True)
def short_trainings(monkeypatch):
    shorten_trainings(monkeypatch, steps=2, judge=5)


def garments(names, n=60):
    data = digits().subset(range(n))
    return ImageData(data.pixels(slice(None)), labels=torch.arange(n) % 3, label_names=names)


@pytest.fixture
def numbered(tmp_path):
    return to_parquet(garments(None), tmp_path / "numbered.parquet", progress=False)


@pytest.fixture
def named(tmp_path):
    return to_parquet(garments(GARMENTS), tmp_path / "named.parquet", progress=False)


@pytest.fixture
def names(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text("id,name\n2,clutch\n0,shirt\n1,jeans\n")
    return path


def test_the_embedded_digits_alone_are_digits(windvane, unconditional, tmp_path):
    result = windvane("steer", unconditional, text="a bold seven", data="digits", out=tmp_path / "out", **FEW)
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if "learns the words" in line]
    assert "zero, 0, one" in line and "the embedded digits" in line


def test_numbers_of_classes_are_no_digits(refused, unconditional, numbered, tmp_path):
    line = refused(
        "steer", unconditional, text="a bold two", data=numbered, out=tmp_path / "out",
        **FEW,
    )  # fmt: skip
    assert "says nothing that this encoder understands" in line
    assert "it knows: 0, 1, 2, dark, bright; the classes have no names, --names FILE gives them" in line


def test_names_are_the_files_own_or_those_of_a_list(windvane, refused, unconditional, named, names, tmp_path):
    def said(**options):
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        result = windvane("steer", unconditional, data=named, out=out, **options, **FEW)
        assert result.exit_code == 0, result.output
        (line,) = [line for line in result.stderr.splitlines() if "learns the words" in line]
        return line.partition("learns the words ")[2]

    own = "t, shirt, top, trouser, bag, dark, bright: names of 3 classes from the metadata of column label, "
    assert said(text="trouser") == f"{own}and how bright the pixels are"
    listed = "shirt, jeans, clutch, dark, bright: names of 3 classes from the list names.csv, "
    assert said(text="a bright clutch", names=names) == f"{listed}and how bright the pixels are"
    line = refused(
        "steer", unconditional, text="trouser", data=named, names=names, out=tmp_path / "no", **FEW
    )
    assert "it knows: shirt, jeans, clutch, dark, bright" in line and "--names" not in line


def test_a_training_says_its_names_and_keeps_the_list(
    windvane, numbered, named, names, tmp_path, monkeypatch
):
    few = ["model.type=mlp", "data.holdout=0", "train.sample_every=0", "train.warmup=1", "sample.n=4"]
    sets = [word for text in few for word in ("--set", text)]

    def train(data, out, **options):
        result = windvane("train", data, "--labels", *sets, out=tmp_path / out, steps=1, **options)
        assert result.exit_code == 0, result.output
        return result.stderr

    assert "numbers without names (--names FILE gives them)" in train(numbered, "a")
    assert "named by the metadata of column label (T-shirt/top, Trouser, Bag)" in train(named, "b")
    monkeypatch.chdir(tmp_path)
    assert "named by the list names.csv (shirt, jeans, clutch)" in train(numbered, "c", names="names.csv")
    kept = yaml.safe_load((tmp_path / "c" / "config.yaml").read_text())["data"]["names"]
    assert kept == str(names.resolve())
    monkeypatch.chdir("/")
    result = windvane("steer", tmp_path / "c", text="jeans", cluster=1, out=tmp_path / "jeans", **FEW)
    assert result.exit_code == 0 and "shirt, jeans, clutch" in result.stderr
    # A list goes with the data it was given for.
    result = windvane("steer", tmp_path / "c", text="bag", data=named, cluster=1, out=tmp_path / "bag", **FEW)
    assert result.exit_code == 0 and "t, shirt, top, trouser, bag" in result.stderr


def test_pictures_outside_every_folder_do_not_make_the_others_nameless(windvane, unconditional, tmp_path):
    root = to_folder(garments(["shirt", "jeans", "bag"]), tmp_path / "folder", progress=False)
    (root / "loose.png").write_bytes(next(root.glob("*/*.png")).read_bytes())
    out = tmp_path / "out"
    result = windvane("steer", unconditional, text="jeans", data=root, out=out, **FEW)
    assert result.exit_code == 0, result.output
    assert "bag, jeans, shirt, dark, bright: names of 3 classes from the folders" in result.stderr


def test_a_list_for_what_has_no_labels_is_refused(refused, names, tmp_path):
    np.save(tmp_path / "plain.npy", np.zeros((20, 8, 8), np.float32))
    line = refused("train", tmp_path / "plain.npy", names=names, out=tmp_path / "run")
    assert "the data have no labels to name; --set data.labels=folders" in line


def test_why_folders_are_no_labels_is_said_of_folders_alone(windvane, tmp_path):
    few = ["model.type=mlp", "data.holdout=0", "train.sample_every=0", "train.warmup=1"]
    sets = [word for text in few for word in ("--set", text)]
    data = garments(["holiday", "birthday", "misc"], 30)
    folder = to_folder(data, tmp_path / "albums", progress=False)
    rows = ImageData(data.pixels(slice(None)), names=[f"{2019 + k % 2}/{k}.png" for k in range(30)])
    for source, said in (
        (folder, True),
        (to_parquet(rows, tmp_path / "rows.parquet", progress=False), False),
    ):
        result = windvane("train", source, *sets, out=tmp_path / source.stem / "run", steps=1)
        assert result.exit_code == 0, result.output
        assert ("birthday, holiday read like dates or albums" in result.stderr) == said
        assert ("the folders do not look like classes" in result.stderr) == said
