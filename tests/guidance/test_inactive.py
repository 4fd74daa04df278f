"""Guidance without effect is reported: each guide of a mixture, denoisers and samplers, once a sampling."""

import warnings

import pytest
import torch

from windvane.conditions import Condition
from windvane.energies import Reward
from windvane.guidance import (
    ClassifierFree,
    GuidanceWarning,
    KickedSampler,
    Projected,
    interval,
    presets,
)
from windvane.operators import Inpainting
from windvane.samplers import DDIM, DDPM, BoundDenoiser, Heun, StopSampling

from .guided_cases import MODEL, PROCESS, TIMES, reported

GOOD = Reward(lambda x: -x.square().sum(1), name="good")
OTHER = Reward(lambda x: x.sum(1), name="other")
NOISY = Reward(lambda x, t: x.sum(1), timed=True, name="noisy")
NOWHERE = (1e-9, 1e-8)


def draw(sampler, model=MODEL, **settings):
    """The samples, and what was reported of them."""
    return reported(model, sampler, **{"n": 3, "steps": 5, **settings})


IDLE = {
    "weight 0": (presets.mpgd(OTHER, 0.0), "its weight is 0"),
    "weight 0, alike": (presets.dps(OTHER, 0.0), "its weight is 0"),
    "schedule 0": (presets.dps(OTHER, interval(0.0, 0.1, 1.0, outside=0.0)), "0 at every step of the grid"),
    "window": (presets.freedom(OTHER, 0.3, window=NOWHERE), "window (1e-09, 1e-08)"),
    "windows of two": (
        presets.dps(OTHER, 0.3, window=NOWHERE) + presets.dps(OTHER, 0.3, window=(1e-8, 2e-8)),
        "window (1e-09, 1e-08) and (1e-08, 2e-08)",
    ),
    "too small": (presets.steered(OTHER, 1e-30), "too small for the dtype"),
    "too small, alike": (presets.dps(OTHER, 1e-30), "too small for the dtype"),
    "no variance": (presets.adm(NOISY, 1.0), "no variance"),
}


@pytest.mark.parametrize(("idle", "why"), IDLE.values(), ids=IDLE)
def test_one_guide_of_a_mixture(idle, why):
    good = presets.dps(GOOD, 0.2)
    alone, none = draw(good.sampler(DDIM()))
    both, told = draw((good + idle).sampler(DDIM()))
    assert not none and torch.allclose(both, alone, atol=1e-12)
    (line,) = told
    name = idle.guides[0].energy.name
    assert f"guidance changed nothing in this run ({name})" in line and why in line


def test_guides_with_effect_are_not_named():
    mixed = presets.dps(GOOD, 0.2) + presets.dps(OTHER, 0.1) + presets.mpgd(GOOD, 0.1)
    assert draw((mixed + presets.steered(OTHER, 0.1)).sampler(DDPM()))[1] == []
    # One energy in two windows, of which one holds no step, does act.
    assert draw((presets.dps(GOOD, 0.2) + presets.dps(GOOD, 0.2, window=NOWHERE)).sampler(DDIM()))[1] == []


@pytest.mark.parametrize("sampler", [DDIM(), DDPM(), Heun()], ids=repr)
def test_weight_zero_alone_is_unguided_and_reported(sampler):
    plain = draw(sampler)[0]
    for model, guided in (
        (MODEL, presets.steered(GOOD, 0.0).sampler(sampler)),
        (presets.steered(GOOD, 0.0).denoiser(MODEL), sampler),
        (presets.steered(GOOD, 0.3, window=NOWHERE).denoiser(MODEL), sampler),
    ):
        x, told = draw(guided, model)
        assert torch.equal(x, plain)
        assert len(told) == 1 and "nothing in this run (good)" in told[0]


def test_a_guided_denoiser_deep_inside_another_is_found():
    cond = Condition.vector(torch.ones(3, dtype=torch.int64))
    guided = presets.steered(GOOD, 0.0).denoiser(MODEL)
    assert len(draw(DDIM(), ClassifierFree(guided, 2.0), cond=cond)[1]) == 1
    # One that took no part in a run has nothing to report.
    aside = ClassifierFree(MODEL, 2.0)
    aside.other = guided
    assert draw(DDIM(), aside, cond=cond)[1] == []


def test_a_projection_of_weight_zero():
    y = torch.tensor([[0.5, 0.0, 0.0]], dtype=torch.float64)
    known = Inpainting(torch.tensor([1, 0, 0]))
    x, told = draw(DDIM(), Projected(MODEL, known, y, 0.0))
    assert torch.equal(x, draw(DDIM())[0]) and "nothing in this run (projection)" in told[0]
    assert draw(DDIM(), Projected(MODEL, known, y, interval(1.0, 0.0, 2.0, outside=0.0)))[1] == []


def test_once_a_sampling_however_many_batches_and_wherever_it_ends():
    idle = (presets.dps(GOOD, 0.2) + presets.mpgd(OTHER, 0.0)).sampler(DDIM())
    assert len(draw(idle, batch_size=1)[1]) == 1
    assert len(draw(idle, grid=TIMES[:5])[1]) == 1  # ends in noise

    def stop(info):
        raise StopSampling

    assert len(draw(idle, after_step=stop)[1]) == 1
    assert len(draw(idle)[1]) == 1, "every sampling is reported anew"
    # What acted in one run may be idle in the next.
    level = float(PROCESS.noise_level(TIMES[2]))
    late = presets.dps(GOOD, 0.2, window=(0.0, level)).sampler(DDIM())
    assert draw(late, grid=TIMES)[1] == [] and len(draw(late, grid=TIMES[:3])[1]) == 1


def test_a_kick_and_what_it_is_put_round():
    inner = presets.dps(OTHER, 0.0).sampler(DDIM())
    told = draw(KickedSampler(inner, GOOD, 0.0))[1]
    assert ["(good): its size is 0" in told[0], "(other): its weight is 0" in told[1]] == [True, True]
    told = draw(KickedSampler(DDIM(), GOOD, 0.1, window=NOWHERE))[1]
    assert len(told) == 1 and "holds no step of the grid" in told[0]
    assert draw(KickedSampler(DDIM(), GOOD, 0.1), batch_size=1)[1] == []


def test_steps_by_hand_are_reported_at_their_end():
    """Without the loop nobody tells the sampler that the run has ended but sigma = 0."""
    guided = (presets.dps(GOOD, 0.2) + presets.mpgd(OTHER, 0.0)).sampler(DDIM())
    kicked = KickedSampler(DDIM(), OTHER, 0.0)
    for sampler in (guided, kicked):
        x, denoise = torch.ones(2, 3, dtype=torch.float64), BoundDenoiser(MODEL)
        state = sampler.init(x, TIMES)
        with warnings.catch_warnings(record=True) as caught, torch.no_grad():
            warnings.simplefilter("always")
            for t, s in zip(TIMES[:-1], TIMES[1:]):
                assert not caught
                x, state = sampler.step(denoise, x, t, s, state, None)
        assert [w.category for w in caught] == [GuidanceWarning]
