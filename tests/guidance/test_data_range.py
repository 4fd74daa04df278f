"""Guidance that leaves the data's range says so once, at the end of a run, with a scale that stays."""

import re
import warnings

import pytest
import torch

import windvane as wv
from windvane.energies import Reward
from windvane.guidance import GuidanceWarning, presets

CLEAN = Reward(lambda x: -(x - 0.6).square().flatten(1).sum(1), name="bright")
LINEAR = Reward(lambda x: x.flatten(1).sum(1), name="more")
TIMED = Reward(lambda x, t: -(x - 0.6).square().flatten(1).sum(1), timed=True, name="noisy")
#: Every preset at a scale that runs away in 20 ancestral steps, and what it is called.
AWAY = {
    "dps": presets.dps(CLEAN, 5.0),
    "lgd": presets.lgd(CLEAN, 5.0),
    "freedom": presets.freedom(CLEAN, 5.0),
    "freedom, twice": presets.freedom(CLEAN, 5.0, recurrences=2),
    "universal": presets.universal(CLEAN, 200.0),
    "universal, backward": presets.universal(LINEAR, backward=200.0),
    "mpgd": presets.mpgd(CLEAN, 5.0),
    "tfg": presets.tfg(CLEAN, rho=5.0, mu=5.0),
    "steered": presets.steered(CLEAN, 200.0),
    "elucd": presets.elucd(LINEAR, 200.0),
    "adm": presets.adm(TIMED, 5.0),
    "sdg": presets.sdg(TIMED, 5.0),
    "dps, linear": presets.dps(LINEAR, 200.0),
}


def draw(guidance, **settings):
    model = wv.GaussianMixtureDenoiser(
        [0.4, 0.6], [[-0.7] * 3, [0.5] * 3], [0.05, 0.1], process=wv.VPCosine()
    )
    run = {"seeds": 0, "n": 30, "steps": 20, "progress": False, "sampler": guidance.sampler(wv.DDPM())}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = wv.sample(model, **{**run, **settings})
    told = [str(w.message) for w in caught if issubclass(w.category, GuidanceWarning)]
    return made.x, [line for line in told if "left the data's range" in line]


@pytest.mark.parametrize("guidance", AWAY.values(), ids=AWAY)
def test_every_preset_says_so_and_names_a_scale_that_stays(guidance):
    _, (line,) = draw(guidance)
    energy = guidance.guides[-1].energy.name
    assert f"the scale of {energy!r}" in line and "noise level sigma / alpha = " in line
    share = float(re.search(r"guidance\.scaled\((.*?)\)", line).group(1))
    x, told = draw(guidance.scaled(share))
    assert not told and x.abs().max() < 30


def test_the_scale_is_named_as_a_number_where_it_is_one():
    (line,) = draw(presets.lgd(CLEAN, 5.0))[1]
    assert re.search(r"the scale of 'bright' from 5 to 0\.\d", line)


def test_once_a_run_whatever_the_batches_and_anew_in_the_next():
    guidance = presets.lgd(CLEAN, 5.0).sampler(wv.DDPM())
    assert len(draw(presets.lgd(CLEAN, 5.0), batch_size=10)[1]) == 1
    assert len(draw(presets.lgd(CLEAN, 5.0), sampler=guidance)[1]) == 1
    assert len(draw(presets.lgd(CLEAN, 5.0), sampler=guidance)[1]) == 1


@pytest.mark.parametrize("process", [wv.VPLinear(), wv.EDM(), wv.RectifiedFlow()], ids=lambda p: p.kind)
def test_moderate_guidance_and_the_noise_itself_say_nothing(process):
    model = wv.GaussianDenoiser(mean=torch.zeros(3), covariance=0.2 * torch.ones(3), process=process)
    with warnings.catch_warnings():
        warnings.simplefilter("error", GuidanceWarning)
        for guidance in (presets.dps(CLEAN, 0.05), presets.steered(CLEAN, 0.2), presets.mpgd(CLEAN, 0.1)):
            wv.sample(model, seeds=0, n=20, steps=10, progress=False, sampler=guidance.sampler(wv.DDIM()))


def test_data_that_are_large_themselves_are_no_departure():
    """A thousandfold, with the noise that such data need."""
    model = wv.GaussianDenoiser(
        mean=torch.full((3,), 500.0), covariance=torch.full((3,), 1e5), process=wv.EDM(sigma_max=8e4)
    )
    _, told = draw(presets.steered(Reward(lambda x: x.sum(1), name="up"), 1.0))
    assert not told
    with warnings.catch_warnings():
        warnings.simplefilter("error", GuidanceWarning)
        guidance = presets.dps(Reward(lambda x: x.sum(1), name="up"), 1.0)
        wv.sample(model, seeds=0, n=20, steps=10, progress=False, sampler=guidance.sampler(wv.DDIM()))
