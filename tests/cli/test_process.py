"""PFGM++ on the command line: trained and sampled like EDM, refused by name where noise must be Gaussian."""

import pytest
import torch

from windvane.checkpoint import load
from windvane.cli.common.config import make_config, write_yaml
from windvane.cli.common.models import run_config
from windvane.pictures import read_pixels, to_uint8
from windvane.process import PFGMPP
from windvane.samplers import sample

SMALL = [
    "data.limit=200", "train.warmup=2", "train.batch_size=8", "train.checkpoint_every=4", "model.type=mlp",
    "model.width=16", "model.depth=1", "model.prediction=edm", "sample.n=4", "sample.steps=3",
]  # fmt: skip


def sets(*settings):
    return [word for text in (*SMALL, *settings) for word in ("--set", text)]


@pytest.fixture(scope="module")
def heavy(tmp_path_factory):
    return tmp_path_factory.mktemp("runs") / "heavy"


def test_it_is_trained_and_sampled(windvane, heavy, tmp_path):
    told = sets("process.type=pfgmpp", "process.D=128", "process.sigma_max=20")
    made = windvane("train", "digits", *told, out=heavy, steps=4)
    assert made.exit_code == 0, made.output
    denoiser = load(heavy / "model")
    assert denoiser.process == PFGMPP(dof=128.0, sigma_max=20.0)
    assert run_config(heavy)["process"]["dof"] == 128
    asked = windvane("sample", heavy, out=tmp_path, sampler="unipc2", steps=4, n=3)
    assert asked.exit_code == 0, asked.output
    from windvane.samplers import UniPC

    wanted = to_uint8(sample(denoiser, seeds=0, n=3, sampler=UniPC(order=2), steps=4, clip=1.0).x)
    for seed in range(3):
        assert torch.equal(
            torch.tensor(read_pixels(tmp_path / f"{seed:08d}.png")), torch.tensor(wanted[seed])
        )


@pytest.mark.parametrize("name", ["ddpm", "dpm++sde", "dpm++2m-sde"])
def test_what_needs_gaussian_noise_is_refused_by_name(refused, heavy, tmp_path, name):
    assert "PFGMPP" in refused("sample", heavy, out=tmp_path / "o", sampler=name, n=2, steps=3)
    assert "PFGMPP" in refused("sample", heavy, "--set", "sample.eta=0.5", out=tmp_path / "p", n=2, steps=3)


def test_its_parameter_has_two_names():
    process = make_config(settings=["process.type=pfgmpp", "process.D=64"]).process
    assert process == make_config(settings=["process.type=pfgmpp", "process.dof=64"]).process
    assert process.parameters() == {"dof": 64.0}
    again = make_config(settings=["process.type=pfgmpp", "process.D=64"])
    import yaml

    assert make_config(base=yaml.safe_load(write_yaml(again))).process == process
    for settings, complaint in [
        (["process.type=pfgmpp", "process.D=64", "process.dof=32"], "one parameter, got D=64 and dof=32"),
        (["process.type=edm", "process.D=64"], "dof is no parameter of edm"),
        (["process.type=pfgmpp", "process.beta_min=1"], "parameters: dof, sigma_min, sigma_max"),
        (["process.type=pfgmpp", "process.D=-1"], "process.dof should be greater than 0"),
    ]:
        with pytest.raises(ValueError, match=complaint):
            make_config(settings=settings)
