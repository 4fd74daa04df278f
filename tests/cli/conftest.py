"""A command line to call in the same process, and a small model that knows three clusters."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from windvane.checkpoint import save_model
from windvane.cli import app
from windvane.cli.common.conditions.vocabulary import KnownConditions
from windvane.denoiser import NetworkDenoiser
from windvane.networks import ResidualMLP
from windvane.process import VPCosine
from windvane.randomness import scoped_seed

SIZES = [50, 30, 0, 20]


@pytest.fixture(autouse=True)
def quiet_and_apart(monkeypatch, tmp_path_factory):
    """No bars, and a cache that belongs to the tests."""
    monkeypatch.setenv("WINDVANE_PROGRESS", "0")
    monkeypatch.setenv("WINDVANE_CACHE", str(tmp_path_factory.getbasetemp() / "windvane-cache"))


@pytest.fixture
def windvane():
    """Call the command line: `windvane("sample", path, n=3)` is `windvane sample PATH --n 3`."""

    def call(*words, **options):
        flags = [
            part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))
        ]
        return CliRunner().invoke(app, [str(word) for word in words] + flags)

    return call


@pytest.fixture
def refused(windvane):
    """Call the command line with something wrong; returns its one line."""

    def call(*words, **options):
        result = windvane(*words, **options)
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        assert len(lines) == 1 and lines[0].startswith("windvane: error: "), result.stderr
        assert "Traceback" not in result.output
        return lines[0]

    return call


def noise_pictures(folder, *, seed):
    """A new folder with twelve pictures of noise."""
    folder.mkdir()
    for i, levels in enumerate(np.random.default_rng(seed).integers(0, 256, (12, 8, 8), dtype=np.uint8)):
        Image.fromarray(levels).save(folder / f"{i:02d}.png")
    return folder


@pytest.fixture
def photos(tmp_path):
    return noise_pictures(tmp_path / "photos", seed=0)


def shorten_trainings(patch, *, steps, judge=None):
    """Networks that `steer` trains get a few steps; what they learn is tested where they live."""
    from windvane.judges import training as judge_training
    from windvane.text import training

    for function in (training.train_text_encoder, training.train_noisy_classifier):
        patch.setitem(function.__kwdefaults__, "steps", steps)
        patch.setitem(function.__kwdefaults__, "width", 8)
    if judge is not None:
        patch.setitem(judge_training.train_judge.__kwdefaults__, "steps", judge)


def tiny_denoiser(vector, *, seed=0, shape=(1, 8, 8)):
    """An untrained network whose output depends on its condition; that of a fresh one is zero."""
    with scoped_seed(seed):
        network = ResidualMLP.build(shape=shape, vector=vector, width=32, blocks=1)
        for parameter in network.parameters():
            if not parameter.any():
                parameter.data.normal_(0, 0.3)
    return NetworkDenoiser(network, VPCosine(), parametrisation="v", shape=shape)


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A run folder with a model of four clusters, of which one is empty."""
    run = tmp_path_factory.mktemp("runs") / "run"
    denoiser = tiny_denoiser(len(SIZES))
    save_model(
        run / "model",
        denoiser,
        raw=denoiser.network.state_dict(),
        ema={name: value * 0.9 for name, value in denoiser.network.state_dict().items()},
        step=7,
        extra=KnownConditions(len(SIZES), "clusters", SIZES).to_extra(),
    )
    return run


@pytest.fixture(scope="session")
def unconditional(tmp_path_factory):
    """A run folder with a model without a condition."""
    run = tmp_path_factory.mktemp("runs") / "plain"
    denoiser = tiny_denoiser(None)
    save_model(run / "model", denoiser, ema=denoiser.network.state_dict(), step=3)
    return run
