"""What `windvane steer` refuses in one line, and before it trains anything."""

import pytest
import torch
from PIL import Image

from tests.adapters import tiny_pipelines as tiny
from windvane.cli.common import processes
from windvane.metrics import judge_training
from windvane.text import training

FEW = {"n": 4, "steps": 3}


@pytest.fixture(autouse=True)
def nothing_is_trained(monkeypatch):
    def never(*given, **named):
        raise AssertionError("a network was trained before the command was refused")

    monkeypatch.setattr(training, "fit_on_views", never)
    monkeypatch.setattr(judge_training, "_fit", never)


@pytest.fixture
def picture(tmp_path):
    Image.new("L", (8, 8), 90).save(tmp_path / "seven.png")
    return tmp_path / "seven.png"


@pytest.fixture
def said(refused, unconditional, tmp_path):
    """The line of a refusal; nothing was written."""

    def call(*words, **options):
        line = refused(
            "steer", unconditional, *words, out=tmp_path / "out", **{"data": "digits", **FEW, **options}
        )
        assert not (tmp_path / "out").exists()
        return line

    return call


def test_wishes(said, picture, tmp_path):
    assert "nothing to steer by: give --text" in said()
    assert "'a xyzzy' says nothing that this encoder understands; it knows: zero" in said(text="a xyzzy")
    assert "did you mean 'seven'?" in said(text="a sevn")
    assert "there is no picture" in said(like=tmp_path / "none.png")
    assert "no class 'eleven'; labels: 0, 1" in said("--class", "eleven")
    assert "classes 0 to 9" in said("--class", "12")
    (tmp_path / "broken.png").write_text("no picture")
    assert "is not a readable picture" in said(style=tmp_path / "broken.png", text="seven")


def test_weights_and_strengths(said):
    assert "kinds such as text=1" in said(text="seven", weights="colour=1")
    assert "kinds such as text=1" in said(text="seven", weights="inf")
    assert "--weights has style, and nothing of that kind" in said(text="seven", weights="text=1,style=2")
    assert "--sweep needs strengths" in said(text="seven", sweep="0,x")


def test_measurements(said, picture, tmp_path):
    assert "a measurement is OP:FILE" in said(measure="sharpen:x.png", text="seven")
    assert "there is no file" in said(measure=f"superres=2:{tmp_path / 'none.png'}", text="seven")
    assert "blur needs a number" in said(measure=f"blur=x:{picture}", text="seven")
    mask = tmp_path / "mask.png"
    assert "there is no picture" in said(measure=f"inpaint={mask}:{picture}", text="seven")


def test_presets(said, picture, tmp_path):
    assert "unknown preset 'magic'; known: universal" in said(text="seven", preset="magic")
    line = said(preset="adm", measure=f"superres=2:{picture}", text="seven")
    assert "asks about noisy states, which measure superres=2:" in line and "take one of universal" in line
    net = tmp_path / "net.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Flatten(), torch.zeros(2, 1, 8, 8)), net)
    line = said("--class", 1, preset="sdg", classifier=net, text="seven")
    assert "asks about noisy states, which class 1 cannot judge" in line
    line = said("--paper-scale", text="seven", preset="elucd", sampler="heun")
    assert "weights of 'elucd' contain the variance of an ancestral step" in line and "ddpm" in line
    assert "'dps' has no steps backward" in said("--backward", 2, text="seven", preset="dps")
    assert "--repeat is at least 1, got 0" in said("--repeat", 0, text="seven")
    assert "belongs to the sampler ddim" in said("--set", "sample.eta=1", text="seven", sampler="heun")


def test_a_noisy_preset_on_latents(refused, tmp_path):
    tiny.ldm().save_pretrained(tmp_path / "ldm")
    line = refused("steer", tmp_path / "ldm", text="seven", preset="sdg", data="digits", out=tmp_path / "o")
    assert "asks about noisy states, which text seven cannot judge" in line


def test_flags_that_would_have_no_effect(said, tmp_path):
    assert "there is no classifier" in said("--class", "1", classifier=tmp_path / "none.pt")
    assert "--classifier belongs to --class" in said(text="seven", classifier="google/vit")
    assert "--encoder belongs to --text" in said("--class", 1, encoder="clip:x")


def test_the_protocol(said, refused, unconditional, tmp_path):
    assert "--evaluate is for text, like" in said(evaluate="class")
    assert "--evaluate is for text, like" in said(evaluate="text+text")
    assert "leave out the wishes" in said(evaluate="text", text="seven")
    assert "--weights has like" in said(evaluate="text+style", weights="like=1")
    line = refused("steer", unconditional, evaluate="text", out=tmp_path / "out")
    assert "--data names the images" in line


def test_several_processes(said, monkeypatch):
    """Each would make the same pictures and write the same folder."""
    monkeypatch.setattr(processes, "processes", lambda: processes.Processes(0, 2, "cpu"))
    for options in ({"text": "seven"}, {"evaluate": "text"}):
        assert "steer runs in one process, not in 2; start it without a launcher" in said(**options)


def test_no_model(refused, tmp_path):
    assert "there is no run or model folder" in refused("steer", tmp_path / "no", text="seven")


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_text_is_refused_before_anything_is_trained(said, text):
    assert "--text is empty" in said("--text", text)
