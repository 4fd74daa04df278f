"""Repeated steps: with every solver, and only where something guides."""

import pytest
import torch

import windvane as wv
from windvane.energies import Reward
from windvane.exact import GaussianDenoiser
from windvane.grids import log_snr
from windvane.guidance import GuidanceWarning, Projected, presets
from windvane.operators import Inpainting
from windvane.process import EDM, VPCosine
from windvane.samplers import restarted, sample

from .guided_cases import MODEL, PROCESS, TIMES

GOOD = Reward(lambda x: -x.square().sum(1), name="good")
NOWHERE = (1e-9, 1e-8)
MULTISTEP = [
    wv.DPMSolverPP(order=2),
    wv.DPMSolverPP(order=3),
    wv.UniPC(order=2),
    wv.UniPC(order=3),
    wv.DPMSolverSDE(order=2),
    wv.EVODiff(),
]


def draw(sampler, model=MODEL, **settings):
    run = {"seeds": 0, "n": 3, "steps": 6, "progress": False, "dtype": torch.float64, **settings}
    return sample(model, sampler=sampler, **run)


@pytest.mark.parametrize("process", [VPCosine(), EDM()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("solver", MULTISTEP, ids=repr)
def test_repeats_keep_the_law_of_multistep_solvers(solver, process):
    """Predictions of the trajectory before a repeat, extrapolated, would make the samples explode."""
    model = GaussianDenoiser([0.0] * 32, [0.25] * 32, process)
    first = wv.DDPM() if solver.stochastic else wv.DDIM()
    for times in (2, 8):
        found, order_one = (
            float(draw(presets.repeated(times).sampler(s), model, n=32, steps=30, grid=log_snr).x.std())
            for s in (solver, first)
        )
        assert abs(found - 0.5) < abs(order_one - 0.5) + 0.03


@pytest.mark.parametrize("solver", MULTISTEP, ids=repr)
def test_a_repeat_begins_without_predictions_and_keeps_its_place_on_the_grid(solver):
    state = solver.init(torch.ones(2, 3), TIMES)
    for nested in (state, presets.repeated(2).sampler(solver).init(torch.ones(2, 3), TIMES)):
        inner = restarted(nested)
        assert inner == nested, "nothing to drop yet"
    history = getattr(state, "history", state)
    told = history.push(0.0, torch.ones(2, 3), keep=2).advance(ready=(1.0, torch.ones(2, 3)))
    assert restarted(told) == type(history)(steps_left=history.steps_left - 1)


@pytest.mark.parametrize(
    "off",
    [
        presets.tfg(GOOD, rho=0.0, mu=0.0, recurrences=3),
        presets.dps(GOOD, 0.0) + presets.repeated(3),
        presets.freedom(GOOD, 0.3, window=NOWHERE, recurrences=3),
        presets.universal(GOOD, lambda level: 0 * level, recurrences=3),
    ],
    ids=["tfg", "dps", "window", "schedule"],
)
@pytest.mark.parametrize(
    "solver", [wv.DDIM(), wv.DDIM(eta=1.0), wv.DPMSolverPP(), wv.UniPC(), wv.Heun()], ids=repr
)
def test_guides_without_weight_repeat_nothing(off, solver):
    plain = draw(solver)
    with pytest.warns(GuidanceWarning, match="changed nothing"):
        made = draw(off.sampler(solver))
    assert torch.equal(made.x, plain.x) and made.calls == plain.calls


def test_steps_outside_every_window_are_made_once():
    level = float(PROCESS.noise_level(TIMES[4]))
    high = presets.dps(GOOD, 0.1, window=(level, 1e9))
    assert draw(wv.DDIM(), grid=TIMES).calls == 9
    assert draw((high + presets.repeated(3)).sampler(wv.DDIM()), grid=TIMES).calls == 4 * 3 + 5
    both = high + presets.dps(GOOD, 0.1, window=(0.0, level)) + presets.repeated(3)
    assert draw(both.sampler(wv.DDIM()), grid=TIMES).calls == 27


def test_without_guides_every_step_is_repeated():
    y = torch.tensor([[0.5, 0.0, 0.0]], dtype=torch.float64)
    model = Projected(MODEL, Inpainting(torch.tensor([1, 0, 0])), y)
    assert draw(presets.repeated(3).sampler(wv.DDIM()), model).calls == 18
