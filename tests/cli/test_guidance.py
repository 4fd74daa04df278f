"""`--guidance NAME:...`: the commands sample by it, pictures tell it and are made again by it."""

import json

import numpy as np
import pytest
import torch

from tests.cli.conftest import tiny_denoiser
from windvane.checkpoint import load, save_model
from windvane.guidance import Autoguidance
from windvane.pictures import read_pixels, read_settings, to_uint8
from windvane.samplers import DDIM, sample


@pytest.fixture
def weak(tmp_path):
    """A weaker model without a condition, and what saves it anew."""

    def save(scale=0.7):
        denoiser = tiny_denoiser(None)
        weights = {name: scale * value for name, value in denoiser.network.state_dict().items()}
        save_model(tmp_path / "weak" / "model", denoiser, ema=weights, step=1)
        return tmp_path / "weak"

    save()
    return save


def test_samples_are_those_of_the_guidance_and_are_made_again(
    windvane, refused, unconditional, weak, tmp_path
):
    place, out = weak(), tmp_path / "s"
    flags = ("--guidance", f"autoguidance:weak={place},weight=2")
    result = windvane("sample", unconditional, *flags, out=out, n=3, steps=4)
    assert result.exit_code == 0 and "8 network evaluations each" in result.stdout, result.output
    denoiser = Autoguidance(load(unconditional), load(place), 2.0)
    wanted = to_uint8(sample(denoiser, seeds=0, n=3, sampler=DDIM(), steps=4, clip=1.0, progress=False).x)
    pictures = [out / f"{seed:08d}.png" for seed in range(3)]
    assert np.array_equal(np.stack([read_pixels(path) for path in pictures]), wanted)
    told = read_settings(pictures[1])
    assert told["guidance"] == [f"autoguidance:weak={place},weight=2"] and list(told["guidance_files"]) == [
        str(place)
    ]
    for image in (pictures[1], out / "grid.png"):
        again = windvane("sample", again=image, out=tmp_path / "again")
        assert again.exit_code == 0 and "equal to" in again.stdout, again.output
    weak(0.5)
    line = refused("sample", again=pictures[1], out=tmp_path / "o")
    assert "what guided" in line and "--force" in line
    assert "guidance_files" in refused("sample", unconditional, *flags, out=out, n=3, steps=4)


def test_weight_and_interval_are_those_of_the_guidance(windvane, unconditional, weak, tmp_path):
    flags = ("--guidance", f"autoguidance:weak={weak()}", "--weight", "2", "--interval", "0.5,inf")
    result = windvane("sample", unconditional, *flags, out=tmp_path / "s", n=1, steps=4)
    assert result.exit_code == 0, result.output
    evaluations = json.loads((tmp_path / "s" / "samples.json").read_text())["pictures"][0]["evaluations"]
    assert 4 < evaluations < 8


OTHERS = {
    "search": "--reward brightness --budget 40 --n 1 --steps 3 --out OUT",
    "compare-solvers": "--calls 4 --reference-steps 20 --n 2 --out OUT",
    "evaluate": "--reference digits --n 70 --set sample.steps=2 --features pixels --out OUT.json",
}


@pytest.mark.parametrize("command", OTHERS)
def test_other_commands_take_it(windvane, model, tmp_path, command):
    found = []
    for number, guidance in enumerate(("", "--guidance cfg:weight=2", "--guidance apg:rescale=1 --weight 3")):
        words = f"{OTHERS[command]} {guidance}".replace("OUT", str(tmp_path / str(number))).split()
        result = windvane(command, model, *words)
        assert result.exit_code == 0, result.output
        found.append(result.stdout.replace(str(tmp_path / str(number)), "OUT"))
    assert len(set(found)) == 3, "the guidance changed nothing"


def test_what_cannot_work_is_a_line_before_anything_is_written(refused, unconditional, tmp_path):
    out = tmp_path / "o"
    for guidance, message in (
        ("autog", "there is no guidance 'autog'"),
        ("autoguidance", "needs weak"),
        ("autoguidance:weak=nowhere", "there is no run or model folder at nowhere"),
        ("gradient-free:classifier=evil.pt2", "evil.pt2"),
    ):
        assert message in refused("sample", unconditional, "--guidance", guidance, out=out, n=1, steps=2)
        assert not list(out.glob("*.png")) if out.exists() else True
    assert torch.get_default_dtype() == torch.float32
