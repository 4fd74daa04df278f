"""Pipelines of diffusers on the command line: opened like a run, and sampled from with the same command."""

import numpy as np
import pytest
import torch

from tests.adapters import tiny_pipelines as tiny
from windvane.adapters import from_pipeline
from windvane.checkpoint import load
from windvane.cli.common.models import open_model
from windvane.conditions import Condition
from windvane.pictures import read_pixels, read_settings, to_uint8
from windvane.samplers import sample

STEPS = 3


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders of an unconditional pipeline, and of a latent one with classes."""
    root = tmp_path_factory.mktemp("pipelines")
    tiny.ddim(prediction_type="sample").save_pretrained(root / "ddim")
    tiny.dit_pipeline(prediction_type="sample").save_pretrained(root / "dit")
    return root


def test_open_model_opens_each_kind(saved, model):
    run = open_model(model)
    assert run.asked is not None and run.step == 7
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    cond = Condition.vector(torch.tensor([0, 1]))
    t = torch.tensor(0.5)
    assert torch.equal(run.denoiser(x, t, cond), load(model)(x, t, cond)) and run.decode(x) is x

    plain = open_model(saved / "ddim")
    assert plain.asked is None and plain.step == 0 and plain.folder == saved / "ddim"
    assert plain.description["pipeline"] == str(saved / "ddim")

    latent = open_model(str(saved / "dit"))
    assert latent.asked is not None and latent.asked.count == 5 and latent.asked.kind == "labels"
    made = latent.decode(torch.zeros(1, 4, 4, 4))
    assert made.shape == (1, 3, 8, 8) and not made.requires_grad


def test_the_hash_tells_weights_apart(saved, tmp_path):
    first = open_model(saved / "ddim").sha256
    assert open_model(saved / "ddim").sha256 == first != open_model(saved / "dit").sha256
    pipeline = tiny.ddim(prediction_type="sample")
    with torch.no_grad():
        pipeline.unet.conv_out.bias.add_(1)
    pipeline.save_pretrained(tmp_path / "other")
    assert open_model(tmp_path / "other").sha256 != first


def test_pictures_of_a_pipeline_are_those_of_the_library(windvane, saved, tmp_path):
    result = windvane("sample", saved / "ddim", out=tmp_path, n=3, seed=4, steps=STEPS)
    assert result.exit_code == 0, result.output
    wanted = to_uint8(sample(from_pipeline(saved / "ddim"), seeds=4, n=3, steps=STEPS, clip=1.0).x)
    found = [read_pixels(path) for path in sorted(tmp_path.glob("0*.png"))]
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert len({image.tobytes() for image in found}) == 3
    settings = read_settings(tmp_path / "00000004.png")
    assert settings["model"] == str(saved / "ddim") and settings["step"] == 0


def test_latents_are_decoded_and_not_clipped(windvane, saved, tmp_path):
    result = windvane("sample", saved / "dit", out=tmp_path, n=2, steps=STEPS, cluster=3, weight=2)
    assert result.exit_code == 0, result.output
    from windvane.guidance import ClassifierFree

    denoiser = from_pipeline(saved / "dit")
    cond = Condition.vector(torch.tensor([3, 3]))
    made = sample(ClassifierFree(denoiser, 2.0), seeds=0, n=2, steps=STEPS, cond=cond)
    wanted = to_uint8(denoiser.decode(made.x).detach())
    found = [read_pixels(path) for path in sorted(tmp_path.glob("0*.png"))]
    assert found[0].shape == (3, 8, 8)
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_a_picture_of_a_latent_pipeline_is_made_again(windvane, saved, tmp_path):
    windvane("sample", saved / "dit", out=tmp_path / "s", n=2, steps=STEPS, cluster=3)
    result = windvane("sample", out=tmp_path / "again", again=tmp_path / "s" / "00000001.png")
    assert result.exit_code == 0 and "equal to" in result.stdout, result.output


def test_a_pipeline_that_does_not_say_how_often_ids_occur_gives_each_alike(
    windvane, refused, saved, tmp_path
):
    drawn = windvane("sample", saved / "dit", out=tmp_path / "s", n=1, steps=STEPS)
    assert drawn.exit_code == 0 and "each of its 5 ids occurred" in drawn.stderr, drawn.output
    assert "no clusters" in refused("sample", saved / "ddim", out=tmp_path / "o", n=1, cluster=0)


def test_what_is_no_model_is_refused_in_one_line(refused, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    line = refused("sample", tmp_path / "empty", out=tmp_path / "o")
    assert "neither a windvane run" in line and "diffusers pipeline" in line
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert "cannot find the pipeline 'nobody/nothing'" in refused("sample", "hub:nobody/nothing", out="o")
    assert "there is no run or model folder at empty/none" in refused("sample", "empty/none", out="o")


def test_features_of_a_pipeline_are_refused(refused, saved, tmp_path):
    from windvane.cli.common.annotations.labels import features_of

    with pytest.raises(ValueError, match="is a diffusers pipeline"):
        features_of(f"denoiser:{saved / 'ddim'}", seed=0, flip=False, device="cpu")
