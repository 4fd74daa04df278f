"""Sampling from the command line: seeds, resuming, settings inside pictures, and one picture again."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from windvane.annotate.images.id_draws import draw_ids
from windvane.checkpoint import load, save_model
from windvane.cli.common.conditions.vocabulary import KnownConditions, draw
from windvane.cli.common.sampling import file_of
from windvane.cli.common.sections import SampleSection
from windvane.conditions import Condition
from windvane.grids import quadratic
from windvane.guidance import ClassifierFree, interval
from windvane.pictures import read_pixels, read_settings, save_png, to_picture, to_uint8
from windvane.samplers import DDIM, DPMSolverPP, DPMSolverSinglestep, Heun, UniPC, sample

from .conftest import SIZES, tiny_denoiser

STEPS = 3


def pictures(folder):
    return {path.name: read_pixels(path) for path in sorted(folder.glob("0*.png"))}


def alike(one, other):
    """Equal up to the last level: float tolerance, seen through rounding."""
    assert one.keys() == other.keys()
    gaps = [np.abs(one[name].astype(int) - other[name].astype(int)).max() for name in one]
    return max(gaps) <= 1


@pytest.fixture
def made(windvane, model, tmp_path):
    """Twelve pictures at weight 2, all in one batch."""
    out = tmp_path / "made"
    result = windvane("sample", model, out=out, n=12, steps=STEPS, weight=2)
    assert result.exit_code == 0, result.output
    assert "12 of them made now, 6 network evaluations each" in result.stdout
    return out


def test_pictures_are_those_of_the_library(made, model):
    ids = draw_ids(torch.tensor(SIZES), range(12))
    guided = ClassifierFree(load(model, "ema"), 2.0)
    cond = Condition.vector(ids)
    wanted = to_uint8(sample(guided, seeds=0, n=12, cond=cond, sampler=DDIM(), steps=STEPS, clip=1.0).x)
    found = pictures(made)
    assert all(np.array_equal(found[file_of(seed)], wanted[seed]) for seed in range(12))
    assert len({image.tobytes() for image in found.values()}) == 12
    index = json.loads((made / "samples.json").read_text(encoding="utf-8"))
    assert [picture["condition"] for picture in index["pictures"]] == ids.tolist()
    assert read_settings(made / "grid.png")["seeds"] == list(range(12))


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_a_seed_gives_its_picture_at_any_batch_size(made, windvane, model, tmp_path, batch):
    windvane("sample", model, out=tmp_path / "other", n=12, steps=STEPS, weight=2, batch_size=batch)
    assert alike(pictures(made), pictures(tmp_path / "other"))


def test_a_seed_gives_its_picture_in_any_range(made, windvane, model, tmp_path):
    windvane("sample", model, out=tmp_path / "other", seed=5, n=3, steps=STEPS, weight=2)
    whole = pictures(made)
    assert alike(pictures(tmp_path / "other"), {file_of(seed): whole[file_of(seed)] for seed in (5, 6, 7)})


def test_two_processes_make_the_pictures_of_one(made, model, tmp_path):
    out = tmp_path / "shared"
    # On a machine without GPUs Accelerate starts one process unless it is told that there are several.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--main_process_port", "0"]
    command = ["-m", "windvane", "sample", str(model), "--out", str(out), "--n", "12"]
    command += ["--steps", str(STEPS), "--weight", "2"]
    done = subprocess.run(
        launch + command, capture_output=True, text=True, timeout=240, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert "2 processes share the pictures" in done.stderr
    assert alike(pictures(made), pictures(out))
    rows = {read_settings(path)["batch"]["rows"] for path in out.glob("0*.png")}
    assert rows == {6}, "the pictures were not shared evenly"
    assert len(json.loads((out / "samples.json").read_text(encoding="utf-8"))["pictures"]) == 12


def test_what_is_there_is_kept_and_the_rest_is_made(made, windvane, model):
    first = {path.name: path.stat().st_mtime_ns for path in made.glob("0*.png")}
    before = pictures(made)
    (made / file_of(4)).unlink()
    (made / "samples.json").unlink()
    result = windvane("sample", model, out=made, n=14, steps=STEPS, weight=2)
    assert "3 of them made now" in result.stdout
    after = {path.name: path.stat().st_mtime_ns for path in made.glob("0*.png")}
    assert {name for name in after if first.get(name) != after[name]} == {
        file_of(4),
        file_of(12),
        file_of(13),
    }
    assert alike(before, {name: image for name, image in pictures(made).items() if name in before})


def test_an_interrupted_sampling_keeps_its_pictures(windvane, model, tmp_path, monkeypatch):
    from windvane.cli.common import sampling

    wrote = []
    save = sampling.save_pngs

    def save_two(pictures):
        if wrote:
            raise KeyboardInterrupt
        wrote.append(save(pictures))

    monkeypatch.setattr(sampling, "save_pngs", save_two)
    result = windvane("sample", model, out=tmp_path / "s", n=5, steps=STEPS, batch_size=2)
    assert result.exit_code == 130
    assert "2 of 5 pictures" in result.stderr and result.stderr.count("\n") == 1
    monkeypatch.undo()
    assert (
        "3 of them made now"
        in windvane("sample", model, "--quiet", out=tmp_path / "s", n=5, steps=STEPS).stdout
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"weight": 3}, "weight 2.0 there, 3.0"),
        ({"cluster": 1}, "condition"),
        ({"weights": "raw"}, "weights"),
    ],
)
def test_pictures_of_other_settings_are_never_mixed(made, refused, model, change, named):
    asked = {"out": made, "n": 12, "steps": STEPS, "weight": 2} | change
    message = refused("sample", model, **asked)
    assert named in message and "choose another --out" in message


def test_clusters_are_drawn_as_often_as_asked(capsys):
    asked = KnownConditions(len(SIZES), "clusters", SIZES)

    def share(condition, seeds):
        ids = draw(SampleSection(condition=condition), asked, seeds)
        return torch.bincount(ids, minlength=4) / len(ids)

    wanted = torch.tensor(SIZES) / sum(SIZES)
    assert (share("empirical", range(2000)) - wanted).abs().max() < 0.04
    assert (share("uniform", range(2000)) - torch.tensor([1, 1, 0, 1]) / 3).abs().max() < 0.04
    assert set(draw(SampleSection(), KnownConditions(4), range(200)).tolist()) == {0, 1, 2, 3}
    assert "does not say how often each of its 4 ids occurred" in capsys.readouterr().err
    assert set(draw(SampleSection(condition="uniform"), KnownConditions(4), range(200)).tolist()) == {
        0,
        1,
        2,
        3,
    }


def test_one_cluster_for_all_and_none_for_all(windvane, model, tmp_path):
    windvane("sample", model, out=tmp_path / "one", n=3, steps=STEPS, cluster=3)
    assert {read_settings(p)["condition"] for p in (tmp_path / "one").glob("0*.png")} == {3}
    windvane("sample", model, out=tmp_path / "none", n=3, steps=STEPS, condition="none")
    free = sample(load(model), seeds=0, n=3, sampler=DDIM(), steps=STEPS, clip=1.0).x
    found = pictures(tmp_path / "none")
    assert all(np.array_equal(found[file_of(seed)], to_uint8(free[seed])) for seed in range(3))
    assert {read_settings(p)["condition"] for p in (tmp_path / "none").glob("0*.png")} == {None}
    assert read_settings(tmp_path / "none" / file_of(0))["weight"] == 0


def test_guidance_without_a_condition_is_refused(refused, model, unconditional, tmp_path):
    assert "would guide nothing" in refused("sample", unconditional, out=tmp_path / "s", weight=2)
    assert "would guide nothing" in refused("sample", model, out=tmp_path / "s", weight=2, condition="none")
    assert "no clusters" in refused("sample", unconditional, out=tmp_path / "s", cluster=0)
    assert "the model has 4" in refused("sample", model, out=tmp_path / "s", cluster=4)
    assert not (tmp_path / "s").exists()


def test_the_interval_reaches_the_sampler_and_the_picture(windvane, model, tmp_path):
    out = tmp_path / "s"
    windvane("sample", model, out=out, n=2, steps=STEPS, weight=3, interval="1.5,inf", cluster=0)
    guided = ClassifierFree(load(model), interval(3.0, 1.5, float("inf")))
    cond = Condition.vector(torch.zeros(2, dtype=torch.int64))
    wanted = to_uint8(sample(guided, seeds=0, n=2, cond=cond, sampler=DDIM(), steps=STEPS, clip=1.0).x)
    assert np.array_equal(read_pixels(out / file_of(1)), wanted[1])
    assert read_settings(out / file_of(1))["interval"] == [1.5, None]
    assert windvane("sample", again=out / file_of(1)).exit_code == 0


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"set": "sample.eta=0.7"}, {"sampler": DDIM(eta=0.7)}),
        ({"set": "sample.clip=false"}, {"clip": None}),
        ({"grid": "quadratic"}, {"grid": quadratic}),
        ({"sampler": "heun"}, {"sampler": Heun()}),
        ({"sampler": "dpm++3m"}, {"sampler": DPMSolverPP(order=3)}),
        ({"sampler": "dpm++2s", "steps": 4}, {"sampler": DPMSolverSinglestep(order=2), "steps": 4}),
        ({"sampler": "unipc3", "steps": 5}, {"sampler": UniPC(order=3), "steps": 5}),
    ],
    ids=["eta", "clip", "grid", "heun", "dpm++3m", "dpm++2s", "unipc3"],
)
def test_every_setting_reaches_the_sampler(windvane, model, tmp_path, settings, wanted):
    plain = {"sampler": DDIM(), "steps": STEPS, "clip": 1.0}

    def library(**options):
        cond = Condition.vector(torch.tensor([1]))
        return to_uint8(sample(load(model), seeds=4, n=1, cond=cond, **(plain | options)).x)[0]

    asked = {"out": tmp_path, "n": 1, "seed": 4, "cluster": 1, "steps": STEPS} | settings
    assert windvane("sample", model, **asked).exit_code == 0
    found = read_pixels(tmp_path / file_of(4))
    assert np.array_equal(found, library(**wanted))
    assert not np.array_equal(found, library()), "the setting makes no difference here"


@pytest.mark.parametrize(
    "how",
    [
        {"sampler": "ddpm", "weight": 1.5},
        {"sampler": "dpm++3m", "grid": "log_snr", "weights": "raw"},
        {"sampler": "unipc2", "condition": "none"},
        {"sampler": "ddim", "set": "sample.eta=0.7", "cluster": 1},
    ],
    ids=lambda how: how["sampler"],
)
def test_again_makes_the_same_picture(windvane, model, tmp_path, how):
    assert windvane("sample", model, out=tmp_path / "s", n=5, steps=STEPS, **how).exit_code == 0
    image = tmp_path / "s" / file_of(3)
    result = windvane("sample", again=image)
    assert result.exit_code == 0 and "equal to" in result.stdout, result.output
    copy = tmp_path / "s" / "again" / image.name
    assert np.array_equal(read_pixels(copy), read_pixels(image))
    assert read_settings(copy)["seed"] == 3
    assert windvane("sample", again=copy).exit_code == 0


def test_again_tells_a_picture_that_was_changed(windvane, made, tmp_path):
    from windvane.pictures import save_png, to_picture

    image = made / file_of(2)
    pixels, settings = read_pixels(image).copy(), read_settings(image)
    pixels[0, 1, 1] ^= 8
    save_png(to_picture(pixels), image, settings)
    result = windvane("sample", again=image)
    assert result.exit_code == 1 and "1 pixels differ" in result.stdout and "at most 8" in result.stdout


def test_again_refuses_a_model_that_changed(windvane, refused, tmp_path):
    run = tmp_path / "run"
    extra = KnownConditions(3, "clusters", [1, 1, 1]).to_extra()
    save_model(run / "model", tiny_denoiser(3), raw=None, extra=extra)
    windvane("sample", run, out=tmp_path / "s", n=1, steps=STEPS, weights="raw")
    image = tmp_path / "s" / file_of(0)
    save_model(run / "model", tiny_denoiser(3, seed=1), extra=extra)
    assert "are not those that made" in refused("sample", again=image)
    result = windvane("sample", "--force", again=image)
    assert result.exit_code == 0 and "pixels differ" in result.stdout
    (run / "model").rename(tmp_path / "moved")
    assert "nothing is now" in refused("sample", again=image)
    save_model(tmp_path / "moved", tiny_denoiser(3), extra=extra)
    assert windvane("sample", tmp_path / "moved", again=image).exit_code == 0


def test_a_grid_of_before_grids_noted_their_samples_is_refused(refused, made):
    kept = ("conditions", "batches", "command")
    settings = {name: value for name, value in read_settings(made / "grid.png").items() if name not in kept}
    save_png(to_picture(read_pixels(made / "grid.png")), made / "grid.png", settings)
    assert "not a single sample" in refused("sample", again=made / "grid.png")


def test_a_model_that_cannot_be_read_is_named(refused, model, tmp_path):
    broken = tmp_path / "broken"
    save_model(broken / "model", tiny_denoiser(2))
    weights = next((broken / "model" / "raw").rglob("*.safetensors"))
    weights.write_bytes(b"rubbish")
    assert weights.name in refused("sample", broken, out=tmp_path / "s", weights="raw")
    assert "only raw" in refused("sample", broken, out=tmp_path / "s")
    (tmp_path / "empty").mkdir()
    assert "neither a windvane run" in refused("sample", tmp_path / "empty", out=tmp_path / "s")


def test_npz_holds_the_pictures(windvane, model, tmp_path):
    out = tmp_path / "s"
    windvane("sample", model, "--npz", out=out, n=4, steps=1)
    with np.load(out / "samples.npz") as stored:
        assert stored["seeds"].tolist() == [0, 1, 2, 3]
        assert np.array_equal(stored["images"][2], read_pixels(out / file_of(2)))
        assert stored["labels"].tolist() == [read_settings(out / file_of(s))["condition"] for s in range(4)]
