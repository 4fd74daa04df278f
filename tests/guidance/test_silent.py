"""Gradients that are zero: of an energy that is satisfied, and of one that cannot guide."""

import pytest
import torch

from windvane.energies import MeasurementNorm, Reward
from windvane.guidance import GuidanceWarning, KickedSampler, Projected, presets
from windvane.operators import Inpainting
from windvane.samplers import DDIM, sample

from .guided_cases import MODEL, reported

GOOD = Reward(lambda x: -x.square().sum(1), name="good")
HINGE = Reward(lambda x: -torch.relu(-x.mean(1)), name="hinge")
DEAD = [
    Reward(lambda x: (0 * x).sum(1), name="dead"),
    Reward(lambda x: x.round().sum(1), name="dead"),
]


def draw(sampler=DDIM(), denoiser=MODEL, **settings):  # noqa: B008 (frozen)
    """The samples, and what was reported of them."""
    return reported(denoiser, sampler, **{"n": 8, "steps": 8, **settings})


GUIDED = {
    "denoiser": lambda energy: {"denoiser": presets.universal(energy, 0.2).denoiser(MODEL)},
    "sampler": lambda energy: {"sampler": presets.dps(energy, 0.1).sampler(DDIM())},
    "noised": lambda energy: {"sampler": presets.tfg(energy, draws=2).sampler(DDIM())},
    "kick": lambda energy: {"sampler": KickedSampler(DDIM(), energy, 0.05)},
}


@pytest.mark.parametrize("how", GUIDED.values(), ids=GUIDED)
def test_rows_that_satisfy_an_energy_are_no_error_in_any_batch(how):
    """One row alone may have no gradient where eight together have some."""
    together, told = draw(**how(HINGE))
    assert told == []
    alone, told = draw(**how(HINGE), batch_size=1)
    assert told == [] and torch.allclose(alone, together, atol=1e-12)
    satisfied = torch.relu(-draw()[0].mean(1)) == 0
    assert satisfied.any() and not satisfied.all()


@pytest.mark.parametrize("how", [GUIDED[k] for k in ("denoiser", "sampler", "kick")])
def test_an_energy_that_every_row_satisfies_is_reported(how):
    wide = Reward(lambda x: -torch.relu(-0.2 - x.mean(1)), name="wide")
    seeds = [k for k in range(40) if draw(**how(wide), seeds=[k], n=None)[1]]
    assert seeds, "some samples satisfy it all the way"
    x, told = draw(**how(wide), seeds=seeds, n=None)
    assert torch.equal(x, draw(seeds=seeds, n=None)[0])
    assert len(told) == 1 and "(wide)" in told[0] and "where it is satisfied" in told[0]


@pytest.mark.parametrize("steps", [1, 6])
def test_a_measurement_that_is_met_already(steps):
    """What a projection has put into D leaves the same measurement's energy nothing to ask for."""
    known = Inpainting(torch.tensor([1, 0, 0]))
    y = torch.tensor([[0.5, 0.0, 0.0]], dtype=torch.float64)
    model = Projected(MODEL, known, y)
    x, told = draw(presets.dps(MeasurementNorm(known, y), 0.1).sampler(DDIM()), model, steps=steps)
    assert torch.equal(x, draw(denoiser=model, steps=steps)[0])
    assert len(told) == 1 and "nothing in this run (measurement norm)" in told[0]


@pytest.mark.parametrize("energy", [*DEAD, GOOD + DEAD[0], DEAD[1] + GOOD], ids=lambda e: e.name)
@pytest.mark.parametrize("how", GUIDED.values(), ids=GUIDED)
@pytest.mark.parametrize("size", [None, 3])
def test_an_energy_without_any_gradient_is_an_error_at_the_end_of_the_run(energy, how, size):
    settings = how(energy)
    for _ in range(2):  # every run is judged anew
        with pytest.warns(GuidanceWarning, match="'dead' has shown no gradient so far"):
            with pytest.raises(ValueError, match="'dead' cannot guide: .* zero in every row.*noise level"):
                sample(
                    **{"denoiser": MODEL, **settings}, seeds=0, n=4, steps=4, batch_size=size, progress=False
                )


def test_the_end_of_the_run_decides():
    """A gradient in the last step is one: here a saturated energy wakes up late."""
    calls = []

    def late(x):
        calls.append(1)
        return x.sum(1) * (1.0 if len(calls) > 6 else 0.0)

    x, told = draw(presets.dps(Reward(late, name="late"), 0.1).sampler(DDIM()))
    assert len(told) == 1 and "'late' has shown no gradient so far" in told[0]
    assert not torch.equal(x, draw()[0])
