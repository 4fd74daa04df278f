"""Small files that stand for huge ones are refused by name, in little time."""

import io
import time
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
import pytest
import yaml

from windvane.adapters import load_classifier
from windvane.cli.common.config import read_yaml
from windvane.damage import Damaged, check_inflation
from windvane.data import open_data
from windvane.runs import Run
from windvane.yaml_text import MOST, read_tree

LAUGHS = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi")
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{','.join([f'*{a}'] * 10)}]}}\n" for a, b in zip("abcdefgh", "bcdefghi")
)


@pytest.fixture(autouse=True)
def in_little_time():
    begin = time.process_time()
    yield
    assert time.process_time() - begin < 10


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "aliases make more"),
        (MERGES, "aliases make more"),
        ("a: &a [*a]", "contains itself"),
        ("a: &a {b: *a}", "contains itself"),
        ("#" * 600_000, "at most 500000 characters"),
    ],
)
def test_settings_that_grow_are_refused(text, said, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    for read in (lambda: read_yaml(file), Run(tmp_path).read_config):
        with pytest.raises(ValueError, match=f"config.yaml is not .*{said}"):
            read()


@pytest.mark.parametrize(
    "text", ["", "a: &x [1, 2]\nb: *x", "a: &x {y: 1}\nb: {<<: *x, z: 2}", "x", "- 1\n- t: null"]
)
def test_other_settings_are_what_yaml_says(text):
    assert read_tree(text) == yaml.safe_load(text) and MOST > 10_000


def bomb(path, member, size=2**31):
    """An archive of two kilobytes or two megabytes whose member is zeros without end."""
    with ZipFile(path, "w", ZIP_DEFLATED) as archive, archive.open(member, "w", force_zip64=True) as out:
        for _ in range(size // 2**24):
            out.write(bytes(2**24))


@pytest.mark.parametrize(
    ("name", "member"), [("a.pt2", "a/models/model.json"), ("a.pt", "a/code/__torch__.py"), ("a.pt2", "a/x")]
)
def test_programs_that_inflate_are_refused(name, member, tmp_path):
    bomb(tmp_path / name, member, 2**27)
    with pytest.raises(ValueError, match=r"would become 134,217,728"):
        load_classifier(tmp_path / name)


def test_an_archive_in_an_archive_is_looked_at_too(tmp_path):
    bomb(tmp_path / "inner", "x/data/0", 2**27)
    with ZipFile(tmp_path / "a.pt2", "w", ZIP_STORED) as archive:
        archive.write(tmp_path / "inner", "a/data/sample_inputs/model.pt")
    with pytest.raises(ValueError, match=r"model\.pt in it would become 134,217,728 bytes"):
        load_classifier(tmp_path / "a.pt2")


def test_arrays_that_inflate_are_refused_and_plain_ones_are_not(tmp_path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (2**31,)})
    with ZipFile(tmp_path / "a.npz", "w", ZIP_STORED) as archive:
        archive.writestr("images.npy", head.getvalue())
    check_inflation(tmp_path / "a.npz", ratio=1, free=0)
    bomb(tmp_path / "b.npz", "images.npy", 2**30 + 2**24)
    with pytest.raises(Damaged, match=r"b\.npz is damaged: its [\d,]+ bytes would become"):
        open_data(tmp_path / "b.npz")
    np.savez_compressed(tmp_path / "c.npz", images=np.zeros((4000, 32, 32, 3), np.uint8))
    assert len(open_data(tmp_path / "c.npz")) == 4000
