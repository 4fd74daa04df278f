"""`train --resume`: what it refuses leaves the run as it was, and what it does not need may change."""

import json
import shutil

import pytest
import yaml

from tests.cli.conftest import noise_pictures
from windvane.folders import LIST
from windvane.locks import LOCK
from windvane.runs import Run

SMALL = ["--set", "model.type=mlp", "--set", "model.width=8", "--set", "model.depth=1", "--batch-size", 4]
OFTEN = ["--set", "train.checkpoint_every=2", "--set", "train.sample_every=0"]
ANNOTATE = {"features": "pixels", "k": 2}


@pytest.fixture
def run(windvane, photos, tmp_path):
    """A run of four steps with an annotation of its own."""
    for made in (
        windvane("annotate", photos, out=tmp_path / "labels", **ANNOTATE),
        windvane("train", "--annotation", tmp_path / "labels", *SMALL, *OFTEN, out=tmp_path / "run", steps=4),
    ):
        assert made.exit_code == 0, made.output
    return tmp_path / "run"


def contents(place):
    """Every file with its bytes and its time, but for locks."""
    files = (path for path in place.rglob("*") if path.is_file() and path.name not in (LOCK, LIST))
    return {path.relative_to(place): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_refused_resume_changes_nothing(windvane, refused, photos, run, tmp_path):
    other = noise_pictures(tmp_path / "other", seed=1)
    assert windvane("annotate", photos, out=tmp_path / "new", features="pixels", k=3).exit_code == 0
    before = contents(run)
    for words, said in [
        (["--seed", 5], "train.seed (0 so far, 5 now)"),
        (["--set", "model.width=16"], "model.width"),
        (["--set", "data.holdout=0.5"], "data.holdout"),
        (["--steps", 0], "train.steps"),
        (["--annotation", tmp_path / "new"], "new is another one"),
        ([other], "made from other images"),
        ([tmp_path / "gone"], "there is no"),
        (["--minutes", 1], "--minutes is for a new run"),
    ]:
        assert said in refused("train", *words, "--resume", out=run), words
        assert contents(run) == before, words
    with Run(run).lock():
        assert "is being written by process" in refused("train", "--resume", out=run, steps=9)
    assert {name: content for name, content in contents(run).items() if name.name != ".owner"} == before
    state = run / "state" / "step-00000004" / "state.pt"
    state.write_bytes(bytes(byte ^ (number == 99) for number, byte in enumerate(state.read_bytes())))
    before = contents(run)
    damaged = windvane("train", "--resume", out=run, steps=9)
    assert damaged.exit_code == 2 and "state.pt" in damaged.stderr
    assert contents(run) == before


def test_a_resume_to_fewer_steps_keeps_the_number_and_goes_on_to_it(windvane, photos, run, tmp_path):
    whole = tmp_path / "whole"
    common = ["train", "--annotation", tmp_path / "labels", *SMALL, *OFTEN]
    assert windvane(*common, out=whole, steps=8).exit_code == 0
    for steps in (8, 2, 5):  # done already, fewer than done, more than done
        shutil.rmtree(run)
        shutil.copytree(whole, run)
        shutil.rmtree(run / "state" / "step-00000008")
        (run / "state" / "LATEST").write_text("step-00000006\n")
        assert windvane("train", "--resume", out=run, steps=steps).exit_code == 0
        told = yaml.safe_load((run / "config.yaml").read_text())
        status = json.loads((run / "status.json").read_text())
        reached = max(6, steps)
        assert told["train"]["steps"] == 8, steps
        assert (status["state"], status["step"], status["steps"]) == ("finished", reached, reached)
    assert windvane("train", "--resume", out=run).exit_code == 0
    weights = "model/ema/model.safetensors"
    assert (run / weights).read_bytes() == (whole / weights).read_bytes()


def test_images_and_annotation_may_move(windvane, refused, photos, run, tmp_path):
    """The training state knows the images by their content, and the run has an annotation of its own."""
    photos.rename(tmp_path / "elsewhere")
    (tmp_path / "labels").rename(tmp_path / "labels-elsewhere")
    gone = f"where {run / 'config.yaml'} says that the images are"
    assert gone in refused("train", "--resume", out=run, steps=6)
    words = [tmp_path / "elsewhere", "--annotation", tmp_path / "labels-elsewhere", "--resume"]
    assert windvane("train", *words, out=run, steps=6).exit_code == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["source"] == str(tmp_path / "elsewhere")
    assert windvane("train", "--resume", out=run, steps=7).exit_code == 0
    photos = tmp_path / "elsewhere"
    photos.rename(tmp_path / "gone")
    for words in (["evaluate", run], ["report", run / "annotations"]):
        assert "--set data.source=PLACE" in refused(*words)
    labels = tmp_path / "labels-elsewhere"
    said = refused("train", "--annotation", labels, out=tmp_path / "new", steps=1)
    assert f"where {labels / 'config.yaml'} says" in said


def test_an_unknown_section_of_a_run_is_named_and_no_other_pictures_are_made(windvane, run, tmp_path):
    """Without its settings the run would give 64 pictures of another sampler instead of its own."""
    config = run / "config.yaml"
    config.write_text(config.read_text() + "smaple:\n  n: 8\n")
    out = tmp_path / "samples"
    made = windvane("sample", run, out=out)
    assert made.exit_code == 2 and made.stdout == "" and not out.exists()
    assert f"{config}: unknown setting smaple; did you mean 'sample'?" in made.stderr
