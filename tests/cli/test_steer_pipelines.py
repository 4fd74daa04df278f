"""Pipelines of diffusers steered from one end to the other: latents of a DiT and of an LDM."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.adapters import tiny_pipelines as tiny
from windvane.adapters import from_pipeline
from windvane.pictures import to_uint8
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
