"""The folders that `annotate` and `report` of an annotation write: one writer, nothing of others replaced."""

import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from tests.kept_folders import contents
from windvane.folders import LIST
from windvane.locks import replacement_lock

FAST = {"features": "pixels", "k": 2}
HOLD = """
import sys, time
from windvane.locks import replacement_lock
with replacement_lock(sys.argv[1], what="the annotation"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def annotation(windvane, photos, tmp_path):
    made = windvane("annotate", photos, out=tmp_path / "labels", **FAST)
    assert made.exit_code == 0, made.output
    return tmp_path / "labels"


def test_a_second_annotation_of_one_folder_is_refused_at_once(refused, windvane, photos, tmp_path):
    out = tmp_path / "deep" / "labels"
    with subprocess.Popen([sys.executable, "-c", HOLD, out], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "held\n"
        begin = time.monotonic()
        assert f"is being written by process {child.pid} " in refused("annotate", photos, out=out, **FAST)
        assert time.monotonic() - begin < 2 and not out.exists()
        os.kill(child.pid, signal.SIGKILL)
    assert windvane("annotate", photos, out=out, **FAST).exit_code == 0
    assert [path.name for path in out.parent.iterdir()] == ["labels"]


def test_a_page_waits_for_no_annotation_that_is_being_made_anew(refused, annotation):
    before = contents(annotation)
    with replacement_lock(annotation, what="the annotation"):
        assert "is being written by process" in refused("report", annotation)
    assert contents(annotation) == before


def test_a_place_that_cannot_be_written_is_refused_before_the_work(windvane, photos):
    made = windvane("annotate", photos, out=photos / "00.png" / "labels", **FAST)
    assert made.exit_code == 2 and made.stdout == ""  # not even the images were opened


def test_a_killed_annotation_leaves_nothing_that_the_next_one_does_not_sweep(windvane, photos, tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".labels.{dead.pid}-0a1b2c3d.windvane-tmp"
    left.mkdir()
    (left / "annotation.json").write_text("{}")
    other = tmp_path / f".photos.{dead.pid}-0a1b2c3d.windvane-tmp"
    other.mkdir()  # another folder's, which its own next writer sweeps
    (tmp_path / ".labels.windvane-lock").touch()
    (tmp_path / ".labels.windvane-owner").write_text(f"process {dead.pid}\n")
    assert windvane("annotate", photos, out=tmp_path / "labels", **FAST).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "labels", "photos"]


def test_a_page_elsewhere_replaces_only_pages(windvane, refused, photos, annotation, tmp_path):
    page = tmp_path / "page"
    for _ in range(2):
        assert windvane("report", annotation, out=page).exit_code == 0
    assert {path.name for path in page.iterdir()} == {
        ".lock",
        LIST,
        "report.html",
        "report.json",
        "montage.png",
    }
    assert windvane("report", annotation, out=annotation).exit_code == 0
    assert not (annotation / LIST).exists()  # its own folder stays one that `annotate` replaces
    assert windvane("annotate", photos, out=annotation, **FAST).exit_code == 0


@pytest.mark.parametrize("kind", ["another annotation", "photographs", "a run"])
def test_a_page_goes_into_no_other_folder(windvane, refused, photos, annotation, tmp_path, kind):
    folder = tmp_path / "other"
    if kind == "another annotation":
        assert windvane("annotate", photos, out=folder, **FAST).exit_code == 0
    elif kind == "photographs":
        folder.mkdir()
        Image.new("L", (2, 2)).save(folder / "montage.png")
    else:
        (folder / "model").mkdir(parents=True)
        (folder / "status.json").write_text('{"state": "finished", "step": 1, "steps": 1}')
    before = contents(folder)
    assert "no part of a page of an annotation" in refused("report", annotation, out=folder)
    assert contents(folder) == before
