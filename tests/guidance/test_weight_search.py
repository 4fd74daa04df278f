"""The search of a guidance's scales: what it tries, what it chooses, and on what it may not report."""

import math
from functools import partial

import pytest
import torch

from windvane.conditions import Condition
from windvane.energies import ClassLogProb, MeasurementNorm, Reward
from windvane.guidance import GradientGuidance, Guide, beam_search, grid_search, presets
from windvane.operators import Matrix
from windvane.samplers import DDIM, sample

from .guided_cases import MODEL, normal

OPERATOR = Matrix(normal(2, 3, seed=5))
TRUTH = normal(1, 3, seed=6)
NORM = MeasurementNorm(OPERATOR, OPERATOR(TRUTH))
TFG = partial(presets.tfg, NORM, draws=1, radius=0.0)
SMALL = {"n": 8, "steps": 5, "progress": False, "sampler": DDIM()}


def closeness(x):
    """Not the guide's own: the distance to one target."""
    return -(x - TRUTH.to(x)).square().sum(1)


def peaked(best):
    """A make and a judge with a known best setting: the judge sees what was made last."""
    made = {}

    def make(**settings):
        made.update(settings)
        return presets.dps(NORM, 1e-3)

    def judge(x):
        return -sum(abs(math.log(made[name] / value)) for name, value in best.items())

    return make, judge


def test_beam_search_climbs_to_a_known_peak():
    make, judge = peaked({"rho": 4.0, "mu": 0.5})
    found = beam_search(
        make, MODEL, judge, start={"rho": 0.25, "mu": 0.25}, largest={"rho": 16.0, "mu": 16.0}, **SMALL
    )
    assert found.settings == {"rho": 4.0, "mu": 0.5} and found.score == 0.0
    tried = [tuple(trial.settings.values()) for trial in found.trials]
    assert len(set(tried)) == len(tried), "no setting is scored twice"
    assert len(tried) < 49, "fewer than the whole grid"
    assert tried[0] == (0.25, 0.25) and found.complete


def test_beam_search_is_the_papers():
    """Written out: from the two best so far, one coordinate at a time times the factor, up to its largest."""
    best = {"a": 2.0, "b": 8.0}
    make, judge = peaked(best)
    start, largest = {"a": 1.0, "b": 1.0}, {"a": 4.0, "b": 4.0}
    found = beam_search(make, MODEL, judge, start=start, largest=largest, rounds=3, **SMALL)

    def score(s):
        return -sum(abs(math.log(v / b)) for v, b in zip(s, best.values()))

    known = [(1.0, 1.0)]
    for _ in range(3):
        for a, b in sorted(known, key=score, reverse=True)[:2]:
            known += [s for s in ((2 * a, b), (a, 2 * b)) if max(s) <= 4.0 and s not in known]
    assert [tuple(t.settings.values()) for t in found.trials] == known
    assert [t.score for t in found.trials] == [score(s) for s in known]


def test_grid_search_tries_all_and_a_budget_stops_it():
    make, judge = peaked({"rho": 2.0, "mu": 3.0})
    grid = {"rho": [1.0, 2.0, 4.0], "mu": [1.0, 3.0]}
    found = grid_search(make, MODEL, judge, grid=grid, **SMALL)
    assert len(found.trials) == 6 and found.complete and found.settings == {"rho": 2.0, "mu": 3.0}
    few = grid_search(make, MODEL, judge, grid=grid, budget=3, **SMALL)
    assert [t.settings for t in few.trials] == [t.settings for t in found.trials[:3]] and not few.complete
    beam = beam_search(
        make, MODEL, judge, start={"rho": 1.0, "mu": 1.0}, largest={"rho": 9.0, "mu": 9.0}, budget=4, **SMALL
    )
    assert len(beam.trials) == 4 and not beam.complete


def test_the_choice_is_better_on_samples_it_has_not_seen():
    found = beam_search(
        TFG, MODEL, closeness, start={"rho": 0.05, "mu": 0.05}, largest={"rho": 1.0, "mu": 1.0}, **SMALL
    )
    seeds = found.fresh(1000, 64)

    def score(guidance):
        sampler = guidance.sampler(DDIM())
        return closeness(sample(MODEL, seeds=seeds, sampler=sampler, steps=5, progress=False).x).mean()

    assert score(found.guidance) > score(TFG(rho=0.05, mu=0.05)) + 0.05
    assert [row["score"] for row in found.rows()] == sorted((t.score for t in found.trials), reverse=True)
    assert all(trial.calls == 2 * 5 or trial.calls == 5 for trial in found.trials)


def test_seeds_that_chose_may_not_be_reported():
    make, judge = peaked({"rho": 1.0})
    found = grid_search(make, MODEL, judge, grid={"rho": [1.0]}, seeds=10, **SMALL)
    assert found.seeds.tolist() == list(range(10, 18))
    assert found.fresh([3, 4]).tolist() == [3, 4]
    with pytest.raises(ValueError, match=r"2 of these seeds .*first: 16"):
        found.fresh(16, 5)


def test_a_setting_that_fails_loses():
    def make(scale):
        return presets.dps(NORM if scale < 10 else Reward(lambda x: x.sum(1) / 0, name="broken"), scale)

    found = grid_search(make, MODEL, closeness, grid={"scale": [100.0, 0.1]}, **SMALL)
    assert found.settings == {"scale": 0.1}
    assert found.trials[0].score == -math.inf and "broken" in found.trials[0].failure
    with pytest.raises(FloatingPointError, match="every one of 1 settings"):
        grid_search(make, MODEL, closeness, grid={"scale": [100.0]}, **SMALL)


def test_conditions_reach_the_samples():
    cond = Condition({"kind": torch.tensor([0, 1] * 4)})
    energy = ClassLogProb(MODEL.class_log_prob, "kind", timed=True)

    def make(scale):
        return GradientGuidance((Guide(energy, scale, where="x_t"),))

    def right(x):
        return MODEL.class_log_prob(x.double(), 1e-2).gather(1, cond.signals["kind"][:, None])

    found = grid_search(make, MODEL, right, grid={"scale": [0.01, 3.0]}, cond=cond, **SMALL)
    assert found.settings == {"scale": 3.0}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: beam_search(TFG, MODEL, closeness, start={"rho": 1.0}, largest={}), "same scales"),
        (lambda: beam_search(TFG, MODEL, closeness, start={"rho": 0.0}, largest={"rho": 1.0}), "above 0"),
        (lambda: beam_search(TFG, MODEL, closeness, start={"rho": 2.0}, largest={"rho": 1.0}), "at most"),
        (
            lambda: beam_search(TFG, MODEL, closeness, start={"rho": 1.0}, largest={"rho": 1.0}, factor=1.0),
            "factor > 1",
        ),
        (lambda: grid_search(TFG, MODEL, closeness, grid={"rho": []}), "values for every"),
        (lambda: grid_search(TFG, MODEL, closeness, grid={"rho": [1.0]}, budget=0), "at least one"),
        (lambda: grid_search(TFG, MODEL, NORM, grid={"rho": [1.0]}, **SMALL), "may not judge"),
        (lambda: grid_search(TFG, MODEL, lambda x: float("nan"), grid={"rho": [0.1]}, **SMALL), "judge gave"),
        (lambda: grid_search(lambda rho: rho, MODEL, closeness, grid={"rho": [1.0]}), "GradientGuidance"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
