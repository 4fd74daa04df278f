"""The example package beside Windvane: its names work in every command, in fresh processes."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """What `pip install` leaves of the package, by hand: its modules and its entry points."""
    site = tmp_path_factory.mktemp("site")
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    (site / "windvane_example").symlink_to(PLUGIN / "src" / "windvane_example")
    info = site / f"windvane_example-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = project["entry-points"]["windvane.plugins"]
    lines = "\n".join(f"{name} = {value}" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[windvane.plugins]\n{lines}\n")
    return site


@pytest.fixture
def run(site, tmp_path):
    """A Python command in a fresh process, with the package or without."""

    def call(*words, code=None, installed=True):
        paths = [str(site)] if installed else []
        paths += [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "WINDVANE_CACHE": str(tmp_path / "cache"),
        }
        head = [sys.executable, "-c", code] if code else [sys.executable, "-m", "windvane", "--quiet"]
        return subprocess.run(
            [*head, *map(str, words)], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return call


def lines(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_package_adds_one_of_each(run, tmp_path):
    small = ["--set", "data.limit=40", "--set", "train.batch_size=8", "--set", "sample.n=4"]
    own = ["--set", "model.type=tiny_conv", "--set", "model.options.width=8"]
    lines(run("train", "digits", "--steps", "4", *own, *small, "--out", "run"))
    told = json.loads((tmp_path / "run" / "model" / "windvane.json").read_text())
    assert told["modules"]["network"] == {
        "type": "tiny_conv",
        "config": {"channels": 1, "width": 8, "vector": None},
    }
    lines(
        run(
            "sample",
            "run",
            "--n",
            "2",
            "--steps",
            "3",
            "--sampler",
            "midpoint",
            "--grid",
            "cubic",
            "--out",
            "a",
        )
    )
    index = json.loads((tmp_path / "a" / "samples.json").read_text())
    assert [picture["evaluations"] for picture in index["pictures"]] == [5, 5]
    assert lines(run("seeds", "a", "--separator", ",")) == "0,1\n"
    missing = run("seeds", "nowhere")
    assert missing.returncode == 2 and missing.stderr.startswith("windvane: error: nowhere holds no samples")
    assert "seeds            the seeds of a folder of samples" in lines(run("--help"))
    assert "No such command 'seeds'" in run("seeds", "a", installed=False).stderr
    assert "equal to" in lines(run("sample", "--again", "a/00000001.png", "--out", "b"))
    away = ["--guidance", "away:weak=run", "--weight", "2"]
    assert "8 network evaluations" in lines(
        run("sample", "run", "--n", "1", "--steps", "4", *away, "--out", "c")
    )
    striped = ["--guidance", "energy:stripes=3,weight=2"]
    assert "4 network evaluations" in lines(
        run("sample", "run", "--n", "1", "--steps", "4", *striped, "--out", "e")
    )
    lines(
        run("annotate", "digits", "--features", "colours:bins=4", "--k", "3", *small[:2], "--out", "labels")
    )
    boxed = ["--boxes", "--method", "middle", "--dense", "patches:3", "--features", "pixels", "--k", "2"]
    assert "36 boxes in 36 images by middle, on average 25%" in lines(
        run("annotate", "digits", *boxed, *small[:2], "--out", "boxes")
    )
    code = "from windvane.annotate import load_regions; print(load_regions('boxes').origin.rule.share)"
    assert lines(run(code=code)) == "0.5\n"
    refused = run("annotate", "digits", *boxed, "--out", "none", installed=False)
    assert refused.stderr == "windvane: error: annotate.method should be 'lost' or 'ncut', got 'middle'\n"
    turned = (
        "import torch, windvane as wv; from windvane.networks import ResidualMLP\n"
        "net = ResidualMLP.build(shape=(2,), width=8, blocks=1, signals={'angle': {'harmonics': 2}})\n"
        "d = wv.NetworkDenoiser(net, wv.VPCosine(), shape=(2,)); turn = torch.linspace(0, 3, 64)\n"
        "wv.train(d, torch.randn(64, 2), conditions=wv.Condition({'angle': turn}), dropout={'angle': 0.2}, "
        "steps=2, batch_size=8, run=wv.Run('turned'), progress=False)"
    )
    lines(run(code=turned))
    code = (
        "import torch, windvane as wv\n"
        "d = wv.load('turned'); print(d.network.config['signals'])\n"
        "print(*wv.sample(d, seeds=0, n=2, cond=wv.Condition.of(angle=torch.ones(2)), steps=2).x.shape)"
    )
    assert lines(run(code=code)).splitlines() == ["{'angle': {'harmonics': 2}}", "2 2"]
    assert "there is no signal 'angle'" in run(code=code, installed=False).stderr
    code = (
        "import windvane as wv; from windvane.annotate import load_annotation\n"
        "d = wv.load('run'); x = wv.sample(d, seeds=0, n=2, sampler='midpoint').x\n"
        "print(type(d.network).__name__, tuple(x.shape))\n"
        "print(load_annotation('labels').extractor.name)"
    )
    network, features = lines(run(code=code)).splitlines()
    assert network == "TinyConv (2, 1, 8, 8)" and features == "colours(bins=4)"
    for k, loss in enumerate(
        (["train.objective=huber", "train.objective_options.delta=0.1"],)
        + (["train.corruption=holes", "train.corruption_options.share=0.4"],)
    ):
        settings = [part for setting in loss for part in ("--set", setting)]
        lines(run("train", "digits", "--steps", "2", *settings, *own, *small, "--out", f"loss{k}"))
    state = next((tmp_path / "loss0" / "state").glob("step-*")) / "state.json"
    assert json.loads(state.read_text())["settings"]["objective"] == "Huber(delta=0.1)"
    unknown = run(
        "train",
        "digits",
        "--set",
        "train.objective=huber",
        "--set",
        "train.objective_options.d=1",
        "--out",
        "x",
    )
    assert (
        unknown.returncode == 2 and "train.objective_options.d: huber has the options delta" in unknown.stderr
    )
    made = (
        "import torch, windvane as wv; from windvane.point_set import PointsDenoiser\n"
        "wv.save_model('points', PointsDenoiser(torch.tensor([[-1.0], [1.0]]), wv.VPCosine()))"
    )
    lines(run(code=made))
    code = (
        "import windvane as wv; d = wv.load('points')\n"
        "print(type(d).__name__, *wv.sample(d, seeds=0, n=9).x.abs().round(decimals=2).unique().tolist())"
    )
    assert lines(run(code=code)) == "PointsDenoiser 1.0\n"
    assert "the kind 'empirical', which nobody has registered" in run(code=code, installed=False).stderr
    table = lines(run("settings", "model"))
    assert re.search(r"tiny_conv +two convolutions", table)
    # Without the package its model says what is missing, and no file makes anything be imported.
    gone = run(code="import windvane as wv; wv.load('run')", installed=False)
    assert "unknown network type 'tiny_conv'; known:" in gone.stderr.splitlines()[-1]
    refused = run("sample", "run", "--out", "d", installed=False)
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1


def test_each_addition_touches_one_file():
    """One file and one row each, and nothing of the library."""
    done = subprocess.run([sys.executable, str(PLUGIN / "touched.py")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall("no other file", done.stdout)) == len(done.stdout.splitlines()) - 1 > 10
