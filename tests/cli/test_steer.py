"""`windvane steer` from one end to the other on a tiny model, and what it refuses."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.conftest import shorten_trainings
from windvane.judges import train_judge
from windvane.pictures import read_pixels, read_settings, to_uint8

FEW = {"n": 4, "steps": 3}


@pytest.fixture(autouse=True, scope="module")
def short_trainings():
    with pytest.MonkeyPatch.context() as patch:
        shorten_trainings(patch, steps=4, judge=20)
        yield


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "seven.png"
    levels = np.zeros((8, 8), dtype=np.uint8)
    levels[1, 1:7] = levels[2:7, 5] = 255
    Image.fromarray(levels).save(path)
    return path


def report(out):
    return json.loads((out / "report.json").read_text())


def test_a_text_leaves_pictures_numbers_and_a_report(windvane, unconditional, tmp_path):
    out = tmp_path / "out"
    result = windvane("steer", unconditional, text="a handwritten seven", data="digits", out=out, **FEW)
    assert result.exit_code == 0, result.output
    assert "text 'a handwritten seven': similarity" in result.stdout
    files = {p.name for p in out.iterdir()}
    assert {f"{s:08d}.png" for s in range(4)} <= files
    assert {
        "before_after.png",
        "grid.png",
        "report.html",
        "report.json",
        "samples.json",
        "samples.npz",
    } <= files
    settings = read_settings(out / "00000002.png")
    assert settings["seed"] == 2 and settings["preset"] == "universal" and settings["strength"] == 1
    assert settings["steered_by"] == [{"kind": "text", "what": "'a handwritten seven'", "weight": 1.0}]
    with np.load(out / "samples.npz") as arrays:
        assert arrays["images"].shape == arrays["unguided"].shape == (4, 1, 8, 8)
        assert (arrays["images"][2] == read_pixels(out / "00000002.png")).all()
        assert (arrays["images"] != arrays["unguided"]).any()
    found = report(out)
    assert [arm["strength"] for arm in found["strengths"]] == [0, 1]
    assert all(arm["evaluations"] == 3 for arm in found["strengths"])
    names = {score["name"] for score in found["strengths"][0]["scores"]}
    assert {"diversity", "text 'a handwritten seven': top-1 of 51"} <= names
    judges = {s["by"] for arm in found["strengths"] for s in arm["scores"]}
    assert len(judges) == 2, "an encoder and a classifier judge"
    assert "<h1>Steered samples</h1>" in (out / "report.html").read_text()


def test_unguided_is_what_sample_makes_and_weight_zero_is_unguided(windvane, unconditional, tmp_path):
    plain = tmp_path / "plain"
    assert windvane("sample", unconditional, out=plain, npz="").exit_code != 0
    assert windvane("sample", unconditional, "--npz", out=plain, **FEW).exit_code == 0
    out = tmp_path / "out"
    result = windvane("steer", unconditional, text="seven", weights=0, out=out, **FEW)
    assert result.exit_code == 0, result.output
    assert "guidance changed nothing in this run" in result.stderr
    assert any("changed nothing" in note for note in report(out)["notes"])
    assert "guidance changed nothing" in (out / "report.html").read_text()
    with np.load(plain / "samples.npz") as ours, np.load(out / "samples.npz") as theirs:
        assert (ours["images"] == theirs["unguided"]).all()
        assert (ours["images"] == theirs["images"]).all()


def test_one_wish_without_effect_is_named(windvane, unconditional, picture, tmp_path):
    out = tmp_path / "out"
    options = {"text": "seven", "style": picture, "weights": "text=1,style=0", **FEW}
    result = windvane("steer", unconditional, out=out, **options)
    assert result.exit_code == 0, result.output
    (note,) = [note for note in report(out)["notes"] if "changed nothing" in note]
    assert "(style seven.png): its weight is 0" in note and note in result.stderr


def test_everything_at_once_in_a_sweep(windvane, unconditional, picture, tmp_path):
    out = tmp_path / "out"
    result = windvane(
        "steer", unconditional, "--class", "7", "--sweep", "0,1,2", text="bold seven", like=picture,
        content=picture, style=picture, measure=f"superres=2:{picture}",
        weights="text=2,style=0.5", sampler="ddpm", data="digits", out=out, **FEW,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = report(out)
    assert [arm["strength"] for arm in found["strengths"]] == [0, 1, 2]
    kinds = [wish["kind"] for wish in found["settings"]["steered_by"]]
    assert kinds == ["text", "like", "content", "style", "class", "measure"]
    weights = {wish["kind"]: wish["weight"] for wish in found["settings"]["steered_by"]}
    assert weights["text"] == 2 and weights["style"] == 0.5 and weights["like"] == 1
    assert set(found["strengths"][1]["guides"]) == {
        s["kind"] + " " + s["what"] for s in found["settings"]["steered_by"]
    }
    with Image.open(out / "sweep.png") as grid, Image.open(out / "before_after.png") as both:
        assert grid.height > both.height
    names = {score["name"].rpartition(": ")[2] for score in found["strengths"][0]["scores"]}
    assert {"similarity", "feature distance", "Gram distance", "share", "residual (RMS)"} <= names


@pytest.mark.parametrize("preset", ["dps", "sdg"])
def test_presets_by_name(windvane, unconditional, preset, tmp_path):
    result = windvane("steer", unconditional, text="seven", preset=preset, out=tmp_path / "out", **FEW)
    assert result.exit_code == 0, result.output
    assert report(tmp_path / "out")["settings"]["preset"] == preset


def test_steps_backward_and_steps_made_again(windvane, unconditional, tmp_path):
    out = tmp_path / "out"
    result = windvane("steer", unconditional, text="seven", backward=2, repeat=3, out=out, **FEW)
    assert result.exit_code == 0, result.output
    found = report(out)
    assert (found["settings"]["backward"], found["settings"]["repeat"]) == (2, 3)
    assert [arm["evaluations"] for arm in found["strengths"]] == [3, 9]


def test_a_measurement_alone_is_met_better(windvane, unconditional, picture, tmp_path):
    out = tmp_path / "out"
    result = windvane("steer", unconditional, measure=f"superres=2:{picture}", out=out, n=6, steps=15)
    assert result.exit_code == 0, result.output
    plain, guided = (arm["scores"][0]["value"] for arm in report(out)["strengths"])
    assert guided < 0.8 * plain


def test_a_classifier_of_ones_own(windvane, unconditional, tmp_path):
    from windvane.data import digits

    judge = train_judge(digits(), steps=10, progress=False)
    judge.save(tmp_path / "judge.safetensors")
    script = torch.jit.trace(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)), torch.zeros(2, 1, 8, 8)
    )
    torch.jit.save(script, tmp_path / "net.pt")
    for name in ("judge.safetensors", "net.pt"):
        result = windvane(
            "steer", unconditional, "--class", 2, classifier=tmp_path / name, out=tmp_path / name[:3], **FEW
        )
        assert result.exit_code == 0, result.output


def test_a_pipeline_folder_is_steered_as_by_hand(windvane, tmp_path, picture):
    from diffusers import DDIMScheduler, DDPMPipeline, UNet2DModel

    from windvane.adapters.pipeline import from_pipeline
    from windvane.tasks.steering import measurement_wish, open_measure, steer

    torch.manual_seed(0)
    network = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8), layers_per_block=1,
        norm_num_groups=4, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip
    DDPMPipeline(network, DDIMScheduler()).save_pretrained(tmp_path / "pipeline")
    out = tmp_path / "out"
    text = f"superres=2:{picture}"
    result = windvane("steer", tmp_path / "pipeline", measure=text, text="seven", out=out, **FEW)
    assert result.exit_code == 0, result.output
    alone = tmp_path / "alone"
    assert windvane("steer", tmp_path / "pipeline", measure=text, out=alone, **FEW).exit_code == 0
    found = open_measure(text, (1, 8, 8))
    denoiser = from_pipeline(tmp_path / "pipeline")
    by_hand = steer(
        denoiser, [measurement_wish(found.operator, found.y)], seeds=0, n=4, steps=3, clip=denoiser.clip,
        progress=False,
    )  # fmt: skip
    with np.load(alone / "samples.npz") as arrays:
        assert (arrays["images"] == to_uint8(by_hand.x.clamp(-1, 1))).all()


def test_a_pipeline_that_windvane_saved_is_steered_like_the_model_it_came_from(windvane, tmp_path, picture):
    import windvane as wv
    from windvane.denoiser import NetworkDenoiser
    from windvane.networks import ConditionedUNet
    from windvane.randomness import scoped_seed
    from windvane.tasks.steering import measurement_wish, open_measure, steer

    with scoped_seed(1):
        network = ConditionedUNet.build(shape=(1, 8, 8), channels=(8, 8), layers_per_block=1)
        for parameter in network.parameters():
            if not parameter.any():
                parameter.data.normal_(0, 0.2)
    denoiser = NetworkDenoiser(network, wv.VPLinear(), parametrisation="eps", shape=(1, 8, 8))
    wv.to_pipeline(denoiser, tmp_path / "pipeline")
    text = f"superres=2:{picture}"
    result = windvane("steer", tmp_path / "pipeline", measure=text, out=tmp_path / "out", **FEW)
    assert result.exit_code == 0, result.output
    found = open_measure(text, (1, 8, 8))
    reopened = wv.from_pipeline(tmp_path / "pipeline")
    by_hand = steer(
        reopened, [measurement_wish(found.operator, found.y)], seeds=0, n=4, steps=3, clip=1.0, progress=False
    )
    with np.load(tmp_path / "out" / "samples.npz") as arrays:
        assert (arrays["images"] == to_uint8(by_hand.x.clamp(-1, 1))).all()
    # Index k of the pipeline's 1001 noise levels is our t = k / 1000: the same network, and its gradient.
    x = torch.randn(2, 1, 8, 8, requires_grad=True)
    pair = denoiser(x, torch.full((2,), 0.4)), reopened(x, torch.full((2,), 401 / 1001, dtype=torch.float64))
    torch.testing.assert_close(*pair, atol=1e-4, rtol=1e-4)
    gradients = [torch.autograd.grad(out.square().sum(), x, retain_graph=True)[0] for out in pair]
    assert gradients[0].abs().min() > 0
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-3)


def test_an_unknown_word_is_told_and_left_out(windvane, unconditional, tmp_path):
    result = windvane("steer", unconditional, text="a purple seven", out=tmp_path / "out", **FEW)
    assert result.exit_code == 0
    assert "does not know 'purple'" in result.stderr


def test_a_broken_guide_is_one_line(refused, unconditional, tmp_path):
    class Broken(torch.nn.Module):
        def forward(self, x):
            return torch.log(x.flatten(1)[:, :3] * 0 - 1)

    class Blind(torch.nn.Module):
        def forward(self, x):
            return torch.ones(x.shape[0], 3) + 0 * x.sum()

    for module, message in (
        (Broken(), "class 1' is nan"),
        (Blind(), "gradient is exactly zero in every row"),
    ):
        torch.jit.save(torch.jit.script(module), tmp_path / "net.pt")
        line = refused(
            "steer",
            unconditional,
            "--class",
            "1",
            classifier=tmp_path / "net.pt",
            data="digits",
            out=tmp_path / "out",
            **FEW,
        )
        assert message in line and "noise level" in line


def test_the_towers_of_clip_take_the_place_of_the_own_encoder(
    windvane, refused, tmp_path, monkeypatch, picture
):
    """Image tower, maps and texts are passed on; that they are right is tested with the adapter."""
    from windvane import adapters

    class Stand:
        image = staticmethod(lambda x: x.flatten(1)[:, :10])
        maps = staticmethod(lambda x: x)

        @staticmethod
        def text(sentences):
            return torch.ones(len(sentences), 10)

    asked = []
    monkeypatch.setattr(
        adapters,
        "load_text_image",
        lambda name, device: asked.append((name, str(device))) or Stand(),
        raising=False,
    )
    from windvane.cli.steer.networks import make_eyes
    from windvane.cli.steer.wishes import WishFlags
    from windvane.tasks.steering.guides import SteeredModel

    target = SteeredModel(None, (1, 8, 8), {}, decode=lambda x: 2 * x)
    eyes = make_eyes(WishFlags(text=("anything",), encoder="clip:some/folder"), target, lambda: None, 0)
    assert asked == [("some/folder", "cpu")] and not eyes.timed
    assert torch.equal(eyes.image(torch.ones(2, 1, 8, 8)), torch.full((2, 10), 2.0))
    assert "clip:NAME_OR_FOLDER" in refused("steer", tmp_path, text="x", encoder="t5", out=tmp_path / "out")
