"""The commands one after the other, on real images: what a user does on the first day."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml

from windvane.annotate import load_annotation
from windvane.checkpoint import load, read_description
from windvane.cli.common.config import check
from windvane.cli.common.datasets import open_parts
from windvane.cli.common.recipe import weights_hash
from windvane.data import digits, to_folder
from windvane.pictures import read_settings
from windvane.runs import Run

SMALL = ["data.limit=300", "sample.n=9", "sample.steps=3", "train.sample_every=10", "train.log_every=5"]
SMALL += ["annotate.stability=0", "train.warmup=5", "train.batch_size=16", "train.checkpoint_every=10"]
NETWORK = ["model.channels=[8]", "model.layers=1", "model.attention=[]"]


def sets(*settings):
    return [word for text in (*SMALL, *settings) for word in ("--set", text)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def done(windvane):
    """Call a command that has to succeed; returns what it printed."""

    def call(*words, **options):
        result = windvane(*words, **options)
        assert result.exit_code == 0, result.output
        return result.stdout

    return call


def refused_at_the_end(result):
    """The refusal of a command that had something to say before."""
    assert result.exit_code == 2 and result.stdout == "", result.output
    return result.stderr.splitlines()[-1]


def test_annotate_train_sample_evaluate_report(done, home, windvane):
    run = home / "run"
    said = done("annotate", "digits", *sets(), out=home / "ann", features="pca:10", k=6)
    assert "6 clusters of 270 images" in said and "agreement with the labels, which were not used" in said
    done("train", "digits", *sets(*NETWORK), annotation=home / "ann", out=run, steps=20)
    assert Run(run).read_status()["state"] == "finished"
    assert [path.name for path in sorted((run / "samples").glob("step-*.png"))] == [
        "step-00000010.png",
        "step-00000020.png",
    ]
    config = check(yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")))
    assert config.train.condition == "clusters" and config.train.steps == 20 and config.data.limit == 300
    described = read_description(run)
    assert described["extra"]["condition"]["sizes"] == load_annotation(run / "annotations").sizes.tolist()

    said = done("sample", run, out=home / "s", weight=2)
    assert "9 pictures" in said
    assert read_settings(home / "s" / "00000000.png")["weights_sha256"] == weights_hash(run / "model", "ema")
    assert done("sample", again=home / "s" / "00000004.png")

    made = sorted((run / "samples").iterdir())
    said = refused_at_the_end(windvane("evaluate", run))
    assert "30 images to compare with are too few" in said and "at least 69 are needed" in said
    assert "690 images in all at data.holdout=0.1" in said and "--set evaluate.allow_few=true" in said
    assert "unknown metrics ['fid']" in refused_at_the_end(windvane("evaluate", run, metric="fid"))
    assert sorted((run / "samples").iterdir()) == made, "refused after the samples were made"
    said = done("evaluate", run, "--set", "evaluate.allow_few=true", "--set", "evaluate.bootstrap=20", n=12)
    for name in ("frechet", "precision", "cluster_agreement", "nearest_train", "copies"):
        assert re.search(rf"^{name} ", said, re.MULTILINE), f"{name} is missing from\n{said}"
    found = json.loads(next(run.glob("samples/*/metrics.json")).read_text(encoding="utf-8"))
    frechet = next(metric for metric in found["metrics"] if metric["name"] == "frechet")
    assert frechet["n_samples"] == 12 and frechet["n_reference"] == 30
    assert frechet["low"] <= frechet["value"] <= frechet["high"]
    said = done("evaluate", home / "s", "--set", "evaluate.allow_few=true", metric="kid", features="pca:5")
    assert "kid" in said and "pca" in said and "precision" not in said

    done("report", run, clusters=2, weights="1,3", steps=2)
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "w = 3" in text and "Cluster 5" in text and "Fréchet distance" in text and "Copies?" in text


def test_training_goes_on_where_it_was_stopped(done, refused, home):
    whole, parts = home / "whole", home / "parts"
    done("train", "digits", *sets(*NETWORK), out=whole, steps=12)
    done("train", "digits", *sets(*NETWORK), out=parts, steps=7)
    assert "holds a run already" in refused("train", "digits", out=parts)
    assert "train.learning_rate" in refused("train", "--resume", out=parts, lr=0.5)
    assert "model.channels" in refused("train", "--resume", "--set", "model.channels=[16]", out=parts)
    done("train", "--resume", out=parts, steps=12)
    for weights in ("raw", "ema"):
        one, two = (load(run, weights).network.state_dict() for run in (whole, parts))
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_ctrl_c_saves_and_says_how_to_go_on(home):
    run = home / "stopped"
    command = [sys.executable, "-m", "windvane", "train", "digits", "--out", str(run), "--steps", "100000"]
    command += sets(*NETWORK, "train.sample_every=0")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        until = time.monotonic() + 120
        log = run / "metrics.jsonl"
        while not (log.exists() and log.stat().st_size) and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    step = Run(run).read_status()["step"]
    assert f"interrupted: the state after step {step} of 100000 is saved" in errors.splitlines()[-1]
    assert "Traceback" not in errors and Run(run).latest_state().name == f"step-{step:08d}"


def test_a_folder_with_damaged_files_is_trained_on_and_they_are_named(done, refused, windvane, home):
    folder = to_folder(digits().subset(slice(0, 60)), home / "images", labels=None, progress=False)
    (folder / "torn.png").write_bytes((folder / "000003.png").read_bytes()[:50])
    (folder / "empty.jpg").touch()
    result = windvane(
        "train", folder, *sets(*NETWORK), "--annotate", "4", out=home / "own", steps=3, features="pca:4"
    )
    assert result.exit_code == 0, result.output
    assert "2 of 62 images cannot be read" in result.stderr
    assert "torn.png" in result.stderr and "empty.jpg" in result.stderr
    assert {name for name, _ in json.loads((home / "own" / "scan.json").read_text())["unreadable"]} == {
        "torn.png",
        "empty.jpg",
    }
    assert "torn.png" in refused("train", folder, "--strict", *sets(), out=home / "never")
    done("report", home / "own", "--no-samples")
    text = (home / "own" / "report.html").read_text(encoding="utf-8")
    assert "torn.png" in text and "2 images could not be read" in text


def test_labels_are_the_control_and_are_named(done, refused, home):
    done("train", "digits", "--labels", *sets(*NETWORK), out=home / "labelled", steps=8)
    asked = read_description(home / "labelled")["extra"]["condition"]
    assert asked["kind"] == "labels" and asked["names"] == [str(k) for k in range(10)]
    # Without a condition, and with one that is always dropped, a training is the same.
    done("train", "digits", "--labels", *sets(*NETWORK, "train.dropout=1"), out=home / "dropped", steps=8)
    one, two = (load(home / name, "raw").network.state_dict() for name in ("labelled", "dropped"))
    assert not all(torch.equal(one[name], two[name]) for name in one if name.startswith("conditions."))
    array = home / "plain.npy"
    np.save(array, np.zeros((20, 8, 8), dtype=np.uint8))
    assert "--labels needs labels" in refused("train", array, "--labels", *sets(*NETWORK), out=home / "none")


def test_an_annotation_of_other_images_is_refused(done, refused, home):
    done("annotate", "digits", *sets("data.seed=1"), out=home / "other", features="pixels", k=3)
    message = refused(
        "train", "digits", *sets(*NETWORK, "data.seed=2"), annotation=home / "other", out=home / "mismatch"
    )
    assert "annotate again" in message


def test_k_can_be_chosen_and_the_choice_explained(done, home):
    said = done("annotate", "digits", *sets("data.limit=120"), out=home / "auto", features="pca:5", k="auto")
    assert "K = 5" in said and load_annotation(home / "auto").k in (5, 10)


def test_a_denoiser_gives_the_features(done, home, unconditional):
    features = f"denoiser:{unconditional}"
    said = done("annotate", "digits", *sets(), out=home / "own-features", features=features, k=3)
    assert "3 clusters of 270 images by denoiser(" in said


def test_the_same_images_are_held_out_whatever_the_folder(home):
    section = check({"data": {"source": "digits", "holdout": 0.25, "limit": 100}}).data
    one, two = open_parts(section, quiet=True), open_parts(section, quiet=True)
    assert one.held_out is not None and (len(one.train), len(one.held_out)) == (75, 25)
    assert one.train.fingerprint == two.train.fingerprint
    names = set(one.train.names) & set(one.held_out.names)
    assert not names
    assert open_parts(section.model_copy(update={"holdout": 0.0}), quiet=True).held_out is None


def test_a_run_that_a_program_made_can_be_sampled(done, home, model):
    (model / "config.yaml").write_text("task: my own\nsteps: 3\n", encoding="utf-8")
    try:
        assert "2 pictures" in done("sample", model, out=home / "foreign", n=2, steps=1)
    finally:
        (model / "config.yaml").unlink()


def test_too_few_images_are_refused_in_the_words_of_the_command_line(refused, windvane, home, model):
    assert windvane("sample", model, out=home / "few", n=8, steps=1).exit_code == 0
    said = refused("evaluate", home / "few", "--metric", "frechet", reference="digits", features="pca:10")
    assert "--set evaluate.allow_few=true" in said


def test_too_few_samples_are_refused_before_they_are_made(refused, home, model):
    made = sorted(model.rglob("*"))
    flags = {"reference": "digits", "features": "pca:10"}
    assert "10 samples are too few" in refused("evaluate", model, "--metric", "frechet", n=10, **flags)
    said = refused("evaluate", model, "--metric", "density", n=5, **flags)
    assert "5 samples are too few for 5 neighbours" in said and "--n 6" in said
    assert sorted(model.rglob("*")) == made


def test_controls_are_annotations_that_training_takes(done, home, refused):
    said = done("annotate", "digits", *sets(), out=home / "random", features="pca:10", k=6, control="random")
    assert "6 ids of 270 images: random clusters, a control" in said
    made = load_annotation(home / "random")
    assert made.source == "random clusters" and made.clusters is None
    done("train", "digits", *sets(*NETWORK), annotation=home / "random", out=home / "dealt", steps=2)
    assert torch.equal(load_annotation(home / "dealt" / "annotations").ids, made.ids)
    out = home / "wrong"
    assert "unknown control 'rendom'" in refused("annotate", "digits", out=out, control="rendom")
    assert "in [0, 1]" in refused("annotate", "digits", *sets(), out=out, k=6, control="noise:1.5")


def test_controls_of_the_labels_learn_nothing(done, home, monkeypatch):
    for name in ("annotate", "extract", "stability"):
        monkeypatch.setattr(f"windvane.annotate.{name}", lambda *a, **n: pytest.fail("features were made"))
    for control, k, source in (
        ("labels", 10, "labels"),
        ("labels+split:2", 20, "labels in 2 parts"),
        ("labels+random", 10, "random labels"),
    ):
        out = home / control
        said = done("annotate", "digits", *sets(), "--report", out=out, control=control)
        assert f"{k} ids of 270 images: {source}" in said and "which were not used" not in said
        page = (out / "report.html").read_text(encoding="utf-8")
        assert "Labels were not used" not in page and "agreement with labels" not in page
        made = load_annotation(out)
        assert made.k == k and made.source == source and made.clusters is None
    parts = open_parts(check({"data": {"source": "digits", "limit": 300}}).data)
    assert torch.equal(load_annotation(home / "labels").ids, parts.train.labels)
    assert torch.equal(load_annotation(home / "labels+split:2").ids // 2, parts.train.labels)


def test_the_page_of_an_annotation(done, home, refused):
    out = home / "told"
    told = sets("annotate.stability=2")
    done("annotate", "digits", *told, "--report", out=out, features="pca:5", k=4)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "4 clusters by pca features; 270 images of 8 × 8 × 1" in page and "Memorisation" in page
    facts = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert (
        facts["k"] == 4 and facts["audit"]["baseline"] == "held-out images" and facts["choice"]["candidates"]
    )
    assert load_annotation(out).k == 4, "the page changes nothing of the annotation"

    done("train", "digits", *sets(*NETWORK), annotation=out, out=home / "of", steps=2)
    done("sample", home / "of", "--set", "sample.steps=2", out=home / "pictures", n=5)
    said = done("report", out, out=home / "page", audit=home / "pictures")
    assert said.strip() == str(home / "page" / "report.html")
    again = json.loads((home / "page" / "report.json").read_text(encoding="utf-8"))
    assert again["audit"]["samples"]["images"] == 5 and again["choice"] == facts["choice"]
    assert "is none" in refused("report", home / "of", data="digits")
    assert "there is no" in refused("report", out, audit=home / "nowhere")


def test_boxes_and_masks_have_a_page_beside_the_truth(done, home, refused):
    from windvane.annotate import BoxAnnotation, MaskAnnotation, Origin, write_coco

    data = digits().subset(slice(0, 12))
    np.save(home / "twelve.npy", data.pixels(slice(None)))
    folder = home / "regions"
    known = open_parts(check({"data": {"source": str(home / "twelve.npy"), "holdout": 0}}).data).train
    origin = Origin("lost", fingerprint=known.fingerprint)
    boxes = BoxAnnotation(torch.tensor([[0, 0, 4, 8]]).repeat(12, 1), size=(8, 8), origin=origin)
    boxes.save(folder / "boxes")
    halves = (torch.arange(8) >= 4).long().expand(12, 8, 8)
    MaskAnnotation(halves, 2, origin=origin).save(folder / "masks")
    assert "--data" in refused("report", folder)
    write_coco(boxes, home / "boxes.json")
    source = home / "twelve.npy"
    write_coco(MaskAnnotation(halves, 2, origin=origin), home / "masks.json")
    done("report", folder, data=source, truth=home / "masks.json")
    told = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert told["masks"]["truth"]["mean_iou"] == 1
    assert told["boxes"]["truth"]["corloc"] == 1, "exported masks have boxes, too"
    done("report", folder / "boxes", data=source, truth=home / "boxes.json")
    told = json.loads((folder / "boxes" / "report.json").read_text(encoding="utf-8"))
    assert told["boxes"]["truth"]["corloc"] == 1 and "masks" not in told
