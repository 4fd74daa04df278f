"""Who measures what `windvane steer` made: nobody without images, kept judges, and no wrong classes."""

import json
import shutil

import pytest
import torch
import yaml

from tests.cli.conftest import shorten_trainings, tiny_denoiser
from windvane.checkpoint import save_model
from windvane.data import from_arrays
from windvane.judges import training as judge_training
from windvane.tasks.steering.guides import SteeringImages, make_judges
from windvane.text import training

FEW = {"n": 3, "steps": 2}


@pytest.fixture(autouse=True)
def short_trainings(monkeypatch):
    shorten_trainings(monkeypatch, steps=3, judge=20)


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """A model of colour pictures that does not say what it was trained on."""
    folder = tmp_path_factory.mktemp("models") / "coloured"
    denoiser = tiny_denoiser(None, shape=(3, 64, 64))
    save_model(folder, denoiser, ema=denoiser.network.state_dict(), step=1)
    return folder


def never(*given, **named):
    raise AssertionError("a network was trained")


def noise(labels):
    """Images that have nothing to do with their labels."""
    images = torch.rand(len(labels), 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return from_arrays(images.numpy(), labels=labels, layout="NCHW")


def report(out):
    return json.loads((out / "report.json").read_text())


def scores(out):
    return {score["name"]: score for score in report(out)["strengths"][0]["scores"]}


def test_without_images_nothing_is_trained_and_the_report_says_so(
    windvane, refused, coloured, monkeypatch, tmp_path
):
    from PIL import Image

    monkeypatch.setattr(judge_training, "_fit", never)
    monkeypatch.setattr(training, "fit_on_views", never)
    Image.new("RGB", (32, 32), (200, 30, 60)).save(tmp_path / "red.png")
    out = tmp_path / "out"
    result = windvane("steer", coloured, measure=f"superres=2:{tmp_path / 'red.png'}", out=out, **FEW)
    assert result.exit_code == 0, result.output
    assert {name: score["by"] for name, score in scores(out).items()} == {
        "measure superres:red.png: residual (RMS)": "the operator",
        "diversity": "pixels",
    }
    for told in (result.stderr, report(out)["notes"][-1], (out / "report.html").read_text()):
        assert "no images are known that judges could learn from" in told
    page = (out / "report.html").read_text()
    assert "Measured without networks" in page and "networks that did not steer" not in page

    line = refused("steer", coloured, text="a seven", out=tmp_path / "none", **FEW)
    assert "nothing for a guide to learn from: --data names images" in line


def test_guides_of_small_grey_pictures_learn_from_the_digits_and_are_not_judged(
    windvane, unconditional, tmp_path
):
    out = tmp_path / "out"
    result = windvane("steer", unconditional, text="seven", out=out, **FEW)
    assert result.exit_code == 0, result.output
    assert "guides learn from the embedded digits" in result.stderr
    assert set(scores(out)) == {"diversity"}


def test_a_run_of_another_program_may_say_which_images_it_learnt(windvane, unconditional, tmp_path):
    """As the demonstration's runs do; the rest of their settings means nothing here."""
    from windvane.tasks.self_guided.demo import DATA

    run = tmp_path / "run"
    shutil.copytree(unconditional, run)
    (run / "config.yaml").write_text(yaml.safe_dump({"task": "mine", "n": 3, "data": DATA}))
    out = tmp_path / "out"
    result = windvane("steer", run, "--class", 3, out=out, **FEW)
    assert result.exit_code == 0, result.output
    assert "class 3: share" in scores(out) and not report(out)["notes"]
    (run / "config.yaml").write_text(yaml.safe_dump({"task": "mine", "data": "secret"}))
    result = windvane("steer", run, "--class", 3, out=tmp_path / "again", **FEW)
    assert "the model does not say what it was trained on" in result.stderr


def test_judges_are_kept(windvane, unconditional, monkeypatch, tmp_path):
    options = {**FEW, "style": tmp_path / "p.png", "data": "digits"}
    from PIL import Image

    Image.new("L", (8, 8), 90).save(tmp_path / "p.png")
    first = windvane("steer", unconditional, out=tmp_path / "a", **options)
    assert first.exit_code == 0, first.output
    monkeypatch.setattr(judge_training, "_fit", never)
    monkeypatch.setattr(training, "fit_on_views", never)
    again = windvane("steer", unconditional, out=tmp_path / "b", **options)
    assert again.exit_code == 0, again.output
    assert report(tmp_path / "a")["strengths"] == report(tmp_path / "b")["strengths"]


def test_labels_that_say_nothing_make_no_judge():
    data, said = noise(torch.arange(40) % 2), []
    judges = make_judges(SteeringImages(data, data, data), encoder=False, seed=0, tell=said.append)
    assert judges.classifier is None and judges.space == "pixels"
    assert "labels can hardly be told from the images" in said[-1]


@pytest.mark.parametrize(
    ("names", "label"),
    [({}, None), ({1: "eight"}, None), ({1: "Seven, 7"}, 7)],
    ids=["none", "other", "same"],
)
def test_a_foreign_class_is_judged_where_the_names_agree(
    windvane, unconditional, monkeypatch, names, label, tmp_path
):
    """Class 1 of another classifier is no "1": its number means nothing to the judge."""
    from windvane import adapters
    from windvane.tasks import steering

    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    made, seen = adapters.Classifier(network, names=names), []
    monkeypatch.setattr(adapters, "load_classifier", lambda name, device, trust: made)
    measured = steering.measured
    monkeypatch.setattr(
        steering, "measured", lambda judges, wishes, x: seen.extend(wishes) or measured(judges, wishes, x)
    )
    out = tmp_path / "out"
    result = windvane("steer", unconditional, "--class", 1, classifier="x/y", data="digits", out=out, **FEW)
    assert result.exit_code == 0, result.output
    assert {wish.label for wish in seen} == {label}
    assert ("class 1: share" in scores(out)) is (label is not None)
    told = "no judge can tell how far the samples have class 1"
    assert any(told in note for note in report(out)["notes"]) is (label is None)


def test_an_own_class_is_the_judges(windvane, unconditional, tmp_path):
    out = tmp_path / "out"
    result = windvane("steer", unconditional, "--class", 1, data="digits", out=out, **FEW)
    assert result.exit_code == 0, result.output
    assert "class 1: share" in scores(out) and not report(out)["notes"]
