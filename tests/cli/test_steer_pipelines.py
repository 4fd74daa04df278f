"""Pipelines of diffusers steered from one end to the other: latents of a DiT and of an LDM."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.adapters import tiny_pipelines as tiny
from windvane.adapters import from_pipeline
from windvane.conditions import Condition
from windvane.pictures import read_settings, to_uint8
from windvane.tasks.steering import measurement_wish, open_measure, steer

FEW = {"n": 3, "steps": 3}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    root = tmp_path_factory.mktemp("pipelines")
    tiny.dit_pipeline(prediction_type="sample").save_pretrained(root / "dit")
    tiny.ldm().save_pretrained(root / "ldm")
    return root


@pytest.fixture
def picture(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def strengths(out):
    return json.loads((out / "report.json").read_text())["strengths"]


@pytest.mark.parametrize("name", ["dit", "ldm"])
def test_a_latent_pipeline_is_steered_by_a_measurement_as_by_hand(windvane, saved, picture, name, tmp_path):
    text = f"superres=2:{picture}"
    out = tmp_path / "out"
    result = windvane("steer", saved / name, measure=text, data="digits", out=out, **FEW)
    assert result.exit_code == 0, result.output
    denoiser = from_pipeline(saved / name)
    found = open_measure(text, (3, 8, 8))
    wish = measurement_wish(found.operator, found.y, what=found.what, decode=denoiser.decode)
    for arm, factor, column in zip(strengths(out), (0, 1), ("unguided", "images"), strict=True):
        made = steer(denoiser, [wish], seeds=0, n=3, steps=3, factor=factor, clip=None, progress=False)
        pictures = denoiser.decode(made.x).detach()
        with np.load(out / "samples.npz") as arrays:
            assert (arrays[column] == to_uint8(pictures.clamp(-1, 1))).all()
        # The judge measures the pictures; the guide's own opinion is about the latents.
        gap = found.operator(pictures.clamp(-1, 1)) - found.y
        (score,) = [s for s in arm["scores"] if "residual" in s["name"]]
        assert score["value"] == pytest.approx(float(gap.flatten(1).square().mean(1).sqrt().mean()), rel=1e-4)
        assert arm["guides"] == pytest.approx(made.scores)
    plain, guided = (arm["guides"]["measure superres:photo.png"] for arm in strengths(out))
    # The decoder of the LDM quantises: between its sixteen vectors a small push changes no picture.
    assert guided > plain or name == "ldm"


def test_latents_are_steered_by_a_picture_and_a_class_at_once(windvane, saved, picture, tmp_path):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
    torch.jit.save(torch.jit.trace(network, torch.zeros(2, 3, 8, 8)), tmp_path / "net.pt")
    out = tmp_path / "out"
    result = windvane(
        "steer", saved / "ldm", "--class", 1, measure=f"grey:{picture}", classifier=tmp_path / "net.pt",
        preset="mpgd", data="digits", out=out, **FEW,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    plain, guided = (arm["guides"] for arm in strengths(out))
    assert plain.keys() == guided.keys() == {"class 1", "measure grey:photo.png"}
    assert sum(guided.values()) > sum(plain.values())


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A pipeline of a U-Net with five classes, none of which stands for no class."""
    from diffusers import DDIMScheduler, DDPMPipeline

    folder = tmp_path_factory.mktemp("labelled")
    scheduler = DDIMScheduler(prediction_type="sample", clip_sample=False)
    DDPMPipeline(tiny.unet(num_class_embeds=5), scheduler).save_pretrained(folder)
    return folder


def test_a_pipeline_without_a_null_class_is_steered_within_a_class(
    windvane, refused, labelled, picture, tmp_path
):
    text = f"superres=2:{picture}"
    line = refused("steer", labelled, measure=text, out=tmp_path / "none", **FEW)
    assert "no class that stands for none: --cluster K says which it makes, 0 to 4" in line
    out = tmp_path / "out"
    result = windvane("steer", labelled, measure=text, cluster=3, out=out, **FEW)
    assert result.exit_code == 0, result.output
    denoiser, found = from_pipeline(labelled), open_measure(text, (3, 8, 8))
    cond = Condition.vector(torch.tensor([3]))
    made = steer(
        denoiser,
        [measurement_wish(found.operator, found.y)],
        seeds=0,
        n=3,
        steps=3,
        cond=cond,
        progress=False,
    )
    with np.load(out / "samples.npz") as arrays:
        assert (arrays["images"] == to_uint8(made.x.clamp(-1, 1))).all()
    assert read_settings(out / "00000001.png")["condition"] == 3
    other = windvane("steer", labelled, measure=text, cluster=1, out=tmp_path / "other", **FEW)
    assert other.exit_code == 0
    with np.load(out / "samples.npz") as a, np.load(tmp_path / "other" / "samples.npz") as b:
        assert (a["images"] != b["images"]).any() and (a["unguided"] != b["unguided"]).any()

    line = refused("steer", labelled, measure=text, cluster=5, out=tmp_path / "none", **FEW)
    assert "--cluster 5: the model has 5, 0 to 4" in line
    line = refused(
        "steer", labelled, "--set", "sample.weight=2", measure=text, cluster=3, out=tmp_path / "none"
    )
    assert "a sample.weight needs one" in line


def test_a_conditional_model_is_steered_within_a_cluster(windvane, model, unconditional, picture, tmp_path):
    """Contrast guidance by the section's weight acts on what is steered, as in `windvane sample`."""
    grey = tmp_path / "grey.png"
    Image.new("L", (8, 8), 90).save(grey)
    options = {"measure": f"superres=2:{grey}", "weights": 0, **FEW}
    plain = tmp_path / "plain"
    asked = {"cluster": 1, "weight": 2, **FEW}
    assert windvane("sample", model, "--npz", out=plain, **asked).exit_code == 0
    out = tmp_path / "out"
    result = windvane("steer", model, "--set", "sample.weight=2", cluster=1, out=out, **options)
    assert result.exit_code == 0, result.output
    with np.load(plain / "samples.npz") as ours, np.load(out / "samples.npz") as theirs:
        assert (ours["images"] == theirs["images"]).all()
    result = windvane("steer", unconditional, cluster=1, out=tmp_path / "none", **options)
    assert result.exit_code == 2 and "it has no clusters" in result.stderr


def test_a_model_with_raw_weights_only_says_how_to_ask_for_them(windvane, refused, picture, tmp_path):
    from tests.cli.conftest import tiny_denoiser
    from windvane.checkpoint import save_model

    denoiser = tiny_denoiser(None, shape=(3, 8, 8))
    save_model(tmp_path / "raw", denoiser, raw=denoiser.network.state_dict(), step=1)
    text = f"superres=2:{picture}"
    line = refused("steer", tmp_path / "raw", measure=text, out=tmp_path / "out", **FEW)
    assert "has no ema weights, only raw; --set sample.weights=raw" in line
    words = ["--set", "sample.weights=raw"]
    result = windvane("steer", tmp_path / "raw", *words, measure=text, out=tmp_path / "out", **FEW)
    assert result.exit_code == 0, result.output
