"""What commands compose of many pictures, once more: made again bit for bit, or the command that does it."""

import json
import shlex
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from windvane.cli.common.again.commands import MAKERS
from windvane.data import digits, to_folder
from windvane.pictures import read_pixels, read_settings, save_png, to_picture
from windvane.registry import known_names

STEPS = 3
TINY = ["model.type=mlp", "model.width=16", "model.depth=1", "data.limit=60", "train.batch_size=8"]
TINY += ["train.warmup=1", "sample.steps=2", "sample.n=6", "sample.batch_size=4", "annotate.stability=0"]
SETS = [word for text in TINY for word in ("--set", text)]


def equal(windvane, image, *words, **options):
    result = windvane("sample", *words, again=image, **options)
    assert result.exit_code == 0 and "equal to" in result.stdout, result.output
    out = options.get("out", image.parent / "again")
    assert np.array_equal(read_pixels(out / image.name), read_pixels(image))
    return out / image.name


def told(windvane, image, **options):
    """The words of the command that makes a file again; the folder it is given in is `here`."""
    result = windvane("sample", again=image, **options)
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    here, words = line.removeprefix("cd ").split(" && ")
    assert shlex.split(words)[0] == "windvane"
    return shlex.split(here)[0], shlex.split(words)[1:]


def test_the_grid_of_a_folder_of_samples(windvane, model, tmp_path):
    out = tmp_path / "s"
    first = windvane("sample", model, out=out, n=3, batch_size=2, steps=STEPS)
    assert first.exit_code == 0, first.output
    once = equal(windvane, out / "grid.png")
    equal(windvane, once, out=tmp_path / "twice")
    # Made by two commands, in batches of other sizes.
    assert windvane("sample", model, out=out, n=8, batch_size=4, steps=STEPS).exit_code == 0
    batches = read_settings(out / "grid.png")["batches"]
    assert batches == [[2, 0], [2, 1], [1, 0], [4, 0], [4, 1], [4, 2], [4, 3], [1, 0]]
    equal(windvane, out / "grid.png", out=tmp_path / "eight")


def test_a_grid_needs_the_weights_of_then(windvane, refused, model, unconditional, tmp_path):
    assert windvane("sample", unconditional, out=tmp_path / "s", n=2, steps=STEPS).exit_code == 0
    grid = tmp_path / "s" / "grid.png"
    assert "are not those that made" in refused("sample", model, again=grid, out=tmp_path / "o")
    settings = read_settings(grid)
    save_png(to_picture(read_pixels(grid)), grid, {**settings, "randomness": 1})
    assert "gave other random numbers" in refused("sample", again=grid, out=tmp_path / "o")
    for damage in ({"seeds": [0]}, {"batches": 3}, {"seeds": ["0", "1"]}, {"conditions": [None, 1]}):
        save_png(to_picture(read_pixels(grid)), grid, {**settings, **damage})
        assert "grid.png" in refused("sample", again=grid, out=tmp_path / "o")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("more", [(), ("--sampler", "ddpm", "--weights", "0.5")])
def test_what_steer_composes(windvane, unconditional, tmp_path, monkeypatch, more):
    assert windvane("sample", unconditional, out=tmp_path / "s", n=1, steps=STEPS).exit_code == 0
    monkeypatch.chdir(tmp_path)
    words = ("--measure", "superres=2:s/00000000.png", "--sweep", "0,0.5,2", *more)
    out = tmp_path / "out"
    result = windvane("steer", unconditional, *words, out="out", n=5, batch_size=2, steps=STEPS)
    assert result.exit_code == 0, result.output
    monkeypatch.chdir("/")
    assert read_settings(out / "grid.png")["strengths"] == [2]
    assert read_settings(out / "before_after.png")["strengths"] == [0, 2]
    assert read_settings(out / "sweep.png")["strengths"] == [0, 0.5, 2]
    for name in ("grid.png", "before_after.png", "sweep.png"):
        equal(windvane, out / name)


def test_a_steered_grid_of_senseless_strengths_is_refused(windvane, refused, unconditional, tmp_path):
    assert windvane("sample", unconditional, out=tmp_path / "s", n=1, steps=STEPS).exit_code == 0
    words = ("--measure", f"superres=2:{tmp_path / 's' / '00000000.png'}")
    assert windvane("steer", unconditional, *words, out=tmp_path / "out", n=1, steps=STEPS).exit_code == 0
    grid = tmp_path / "out" / "grid.png"
    settings = read_settings(grid)
    for damage in ({"strengths": [0, 1]}, {"strengths": ["x"]}, {"picture": "other.png"}, {"strengths": 1}):
        save_png(to_picture(read_pixels(grid)), grid, {**settings, **damage})
        assert "grid.png" in refused("sample", again=grid, out=tmp_path / "o")


def test_every_picture_of_a_search(windvane, unconditional, tmp_path):
    asked = {"reward": "brightness", "method": "fk", "n": 3, "budget": 200, "steps": STEPS, "batch_size": 4}
    assert windvane("search", unconditional, out=tmp_path / "out", **asked).exit_code == 0
    for name in ("best.png", "samples.png"):
        equal(windvane, tmp_path / "out" / name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from typer.testing import CliRunner

    from windvane.cli import app

    run = tmp_path_factory.mktemp("trained") / "run"
    words = ["train", "digits", "--annotate", "3", "--features", "pixels", "--steps", "6", "--out", str(run)]
    own = ["--set", "train.sample_every=2", "--set", "sample.grid=edm"]
    result = CliRunner().invoke(app, [*words, *SETS, *own])
    assert result.exit_code == 0, result.output
    return run


def test_the_last_grid_of_a_training_is_made_by_its_model(windvane, trained, tmp_path):
    assert [path.name for path in sorted((trained / "samples").glob("*.png"))] == [
        f"step-{step:08d}.png" for step in (2, 4, 6)
    ]
    equal(windvane, trained / "samples" / "step-00000006.png", out=tmp_path / "again")


def test_an_earlier_grid_of_a_training_is_made_by_the_command_it_tells(windvane, trained, tmp_path):
    image = trained / "samples" / "step-00000004.png"
    # As one that was drawn early, off the usual distance, and planned for fewer steps.
    settings = read_settings(image)
    for name, now, then in (("sample_every", 2, 5), ("steps", 6, 3)):
        assert f"{name}: {now}\n" in settings["config"]
        settings["config"] = settings["config"].replace(f"{name}: {now}\n", f"{name}: {then}\n")
    odd = save_png(to_picture(read_pixels(image)), tmp_path / image.name, settings)
    for again in (image, odd):
        out = tmp_path / again.parent.name
        here, words = told(windvane, again, out=out)
        assert words[0] == "train" and "--config" in words
        result = windvane(*words)
        assert result.exit_code == 0, result.output
        made = out / "step-00000004" / "samples" / image.name
        assert np.array_equal(read_pixels(made), read_pixels(image))
    (tmp_path / "samples" / "step-00000004.yaml").write_text("train: {steps: 7}\n")
    result = windvane("sample", again=image, out=tmp_path / "samples")
    assert result.exit_code == 2 and "is another configuration" in result.stderr


def test_the_line_for_a_shell_runs_as_it_stands(windvane, unconditional, tmp_path, monkeypatch):
    to_folder(digits().subset(range(40)), tmp_path / "my pictures", labels=None, progress=False)
    monkeypatch.chdir(tmp_path)
    few = ("--set", "annotate.stability=0", "--set", "data.holdout=0.25")
    words = ("annotate", "my pictures", "--features", "pixels", "--k", "3", "--out=first one", *few)
    assert windvane("--quiet", *words).exit_code == 0
    montage = tmp_path / "first one" / "montage.png"
    equal(windvane, montage, out=tmp_path / "beside")
    alone = tmp_path / "alone.png"
    alone.write_bytes(montage.read_bytes())
    line = windvane("sample", again=alone, out=tmp_path / "new").stdout
    command = line.replace(" windvane ", f" {shlex.quote(sys.executable)} -m windvane ")
    ran = subprocess.run(["sh", "-c", command], cwd="/", capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert np.array_equal(read_pixels(tmp_path / "new" / "alone" / "montage.png"), read_pixels(montage))
    # So does the page beside it.
    here, words = told(windvane, tmp_path / "first one" / "report.html")
    assert here == str(tmp_path) and words[:2] == ["annotate", "--out"] and words[3] == "my pictures"


def test_plots_and_demos_tell_their_command(windvane, model, unconditional, tmp_path, monkeypatch):
    from windvane.tasks import self_guided

    monkeypatch.chdir(tmp_path)
    few = {"n": 4, "calls": "2,4", "solvers": "ddim", "reference-steps": 20}
    result = windvane("compare-solvers", unconditional, out="solvers", **few)
    assert result.exit_code == 0, result.output
    here, words = told(windvane, tmp_path / "solvers" / "solvers.png")
    assert (here, words[:3]) == (
        str(tmp_path),
        ["compare-solvers", "--out", str(tmp_path / "solvers/again/solvers")],
    )
    assert words[3:] == [str(unconditional), *(p for k, v in few.items() for p in (f"--{k}", str(v)))]
    assert windvane(*words).exit_code == 0
    pair = [read_pixels(tmp_path / place / "solvers.png") for place in ("solvers", words[2])]
    assert np.array_equal(*pair)

    def short(out, **options):
        from windvane.invocation import made_by

        save_png(Image.new("L", (8, 8)), out / "demo.png", {"task": "self-guided demo", **made_by()})

    monkeypatch.setattr(self_guided, "demo", short)
    assert windvane("demo", "--quick", out="demo").exit_code == 0
    assert told(windvane, tmp_path / "demo" / "demo.png")[1] == [
        "demo", "--out", str(tmp_path / "demo/again/demo"), "--quick",
    ]  # fmt: skip


def test_a_command_in_a_file_is_shown_and_never_obeyed(refused, windvane, tmp_path):
    def picture(command):
        return save_png(Image.new("L", (8, 8)), tmp_path / "x.png", {"command": command})

    harmless = {"words": ["demo", "a; rm -rf b", "$(c)"], "folder": "/a b"}
    line = windvane("sample", again=picture(harmless)).stdout
    assert line.startswith("cd '/a b' && windvane demo --out ") and line.endswith(" 'a; rm -rf b' '$(c)'\n")
    told = {"words": ["search", "m", "--resume", "--out", "x", "--out=y", "--", "--resume"], "folder": "/"}
    line = windvane("sample", again=picture(told)).stdout
    assert line == f"cd / && windvane search --out {tmp_path / 'again' / 'x'} m -- --resume\n"
    for words in (
        ["rm", "-rf"],
        [],
        "demo",
        ["demo", 3],
        ["demo", "\x1b[2J"],
        ["demo", "a\nb"],
        ["demo"] * 2000,
    ):
        assert "x.png" in refused("sample", again=picture({"words": words, "folder": "/"}))
    for command in (3, None, {"words": ["demo"]}, {"words": ["demo"], "folder": 3}, {"folder": "/"}):
        assert "x.png" in refused("sample", again=picture(command))
    page = tmp_path / "page.html"
    page.write_text("<html><head><title>x</title></head></html>")
    assert "does not say which command made it" in refused("sample", again=page)
    page.write_text("<meta name='windvane-command' content='{&quot;words&quot;: 3'>")
    assert "page.html" in refused("sample", again=page)


def test_nothing_else_is_replaced(refused, windvane, unconditional, tmp_path):
    assert windvane("sample", unconditional, out=tmp_path / "s", n=2, steps=STEPS).exit_code == 0
    (tmp_path / "mine").mkdir()
    for name in ("grid.png", "00000001.png"):
        Image.new("L", (8, 8)).save(tmp_path / "mine" / name)
        before = (tmp_path / "mine" / name).read_bytes()
        line = refused("sample", again=tmp_path / "s" / name, out=tmp_path / "mine")
        assert "carries no windvane settings" in line
        assert (tmp_path / "mine" / name).read_bytes() == before


def test_the_commands_are_commands():
    assert set(MAKERS) <= set(known_names("command"))


def test_long_conditions_leave_the_command(windvane, model, tmp_path, monkeypatch):
    from windvane.cli.common import grid_cells

    monkeypatch.setattr(grid_cells, "_LONGEST", 3)
    assert windvane("sample", model, "--quiet", out=tmp_path / "s", n=2, steps=STEPS).exit_code == 0
    settings = read_settings(tmp_path / "s" / "grid.png")
    assert settings["seeds"] == [0, 1] and "conditions" not in settings
    assert json.loads(json.dumps(settings["command"]["words"]))[:2] == ["sample", str(model)]
    here, words = told(windvane, tmp_path / "s" / "grid.png")
    assert windvane(*words).exit_code == 0
    assert np.array_equal(
        read_pixels(tmp_path / "s/again/grid/grid.png"), read_pixels(tmp_path / "s" / "grid.png")
    )
