"""`sample.precision=bf16`: the network in bfloat16, as the library has it, and pictures that say so."""

import numpy as np
import torch

from windvane.checkpoint import load
from windvane.pictures import read_pixels, read_settings, to_uint8
from windvane.samplers import DDIM, sample

BF16 = ("--set", "sample.precision=bf16")


def made(windvane, command, run, out, *words, **options):
    result = windvane(command, run, *words, out=out, steps=4, **options)
    assert result.exit_code == 0, result.output
    return result


def test_the_network_runs_in_bfloat16_and_the_picture_says_so(windvane, unconditional, tmp_path):
    made(windvane, "sample", unconditional, tmp_path / "b", *BF16, n=3)
    made(windvane, "sample", unconditional, tmp_path / "f", n=3)
    half = load(unconditional, autocast=torch.bfloat16)
    wanted = sample(half, seeds=0, n=3, sampler=DDIM(), steps=4, clip=1.0, progress=False).x
    pictures = [tmp_path / folder / f"{seed:08d}.png" for folder in "bf" for seed in range(3)]
    pixels = np.stack([read_pixels(path) for path in pictures])
    assert np.array_equal(pixels[:3], to_uint8(wanted))
    assert not np.array_equal(pixels[:3], pixels[3:])
    assert read_settings(pictures[0])["precision"] == "bf16"
    assert "precision" not in read_settings(pictures[-1])


def test_pictures_in_bfloat16_are_made_again(windvane, unconditional, tmp_path):
    made(windvane, "sample", unconditional, tmp_path / "s", *BF16, n=3)
    measured = ("--measure", f"superres=2:{tmp_path / 's' / '00000000.png'}")
    made(windvane, "steer", unconditional, tmp_path / "t", *measured, *BF16, n=2)
    made(windvane, "search", unconditional, tmp_path / "u", "--reward", "brightness", *BF16, n=2, budget=16)
    first = [tmp_path / "s" / "00000001.png", tmp_path / "s" / "grid.png", tmp_path / "u" / "best.png"]
    first.append(next((tmp_path / "t").rglob("0*.png")))
    for image in first:
        out = tmp_path / "again" / image.parent.name
        result = windvane("sample", again=image, out=out)
        assert result.exit_code == 0 and "equal to" in result.stdout, result.output


def test_other_precisions_in_one_folder_are_refused(windvane, refused, unconditional, tmp_path):
    made(windvane, "sample", unconditional, tmp_path / "s", n=1)
    line = refused("sample", unconditional, *BF16, out=tmp_path / "s", n=1, steps=4)
    assert 'precision null there, "bf16" asked for' in line
    assert "sample.precision should be 'float32' or 'bf16'" in refused(
        "sample", unconditional, "--set", "sample.precision=fp8", out=tmp_path / "o"
    )
