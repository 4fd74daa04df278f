"""No search exceeds its budget, whatever its steps prove to cost; counted by the networks themselves."""

import warnings

import pytest
import torch

import windvane as wv
from tests.search.cases import EDM_PROCESS, mixture, right
from windvane.conditions import Condition
from windvane.energies import Reward
from windvane.evaluations import EvaluationLimit, count_evaluations, evaluations_left, record_evaluation
from windvane.exact import GaussianMixtureDenoiser
from windvane.guidance import ClassifierFree, interval
from windvane.guidance.presets import dps, repeated
from windvane.samplers import sample
from windvane.search import (
    BestOf,
    Budget,
    Chain,
    DiffusionTree,
    FeynmanKac,
    Paths,
    RandomNoise,
    ZeroOrder,
    run,
)
from windvane.search.step_costs import rehearsed

COND = Condition.vector(torch.tensor([1]))
STEPS = 6


def classes():
    return GaussianMixtureDenoiser(
        [0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], [0.1, 0.1], EDM_PROCESS, classes=[0, 1]
    )


def twice(sampler):
    return Chain(ClassifierFree(classes(), 2.0), sampler=sampler, steps=STEPS, cond=COND)


def late(sampler):
    """Guidance asks twice in the last steps only."""
    return Chain(ClassifierFree(classes(), interval(2.0, 0.0, 1.0)), sampler=sampler, steps=STEPS, cond=COND)


def pushed(sampler):
    return Chain(mixture(), sampler=dps(Reward(right), 0.1).sampler(sampler), steps=STEPS)


DETERMINISTIC = {
    "plain": lambda: Chain(mixture(), steps=STEPS),
    "heun": lambda: Chain(mixture(), sampler=wv.Heun(), steps=STEPS),
    "singlestep": lambda: Chain(mixture(), sampler=wv.DPMSolverSinglestep(order=3), steps=STEPS),
    "twice": lambda: twice(wv.DDIM()),
    "late": lambda: late(wv.UniPC()),
    "pushed": lambda: pushed(wv.UniPC()),
    "repeated": lambda: Chain(mixture(), sampler=repeated(3).sampler(wv.DDIM()), steps=STEPS),
}
ANCESTRAL = {
    "plain": lambda: Chain(mixture(), sampler=wv.DDPM(), steps=STEPS),
    "twice": lambda: twice(wv.DDPM()),
    "late": lambda: late(wv.DDPM()),
    "pushed": lambda: pushed(wv.DDPM()),
}
METHODS = {
    "best": lambda: BestOf(),
    "random": lambda: RandomNoise(final=late(wv.Heun())),
    "zero": lambda: ZeroOrder(neighbours=2, on_stall="restart", final=twice(wv.DDIM())),
    "paths": lambda: Paths(start=2.0, forward=0.8, backward=1.2, unit="noise_level"),
    "paths again": lambda: Paths(start=1.0, forward=0.8, backward=1.8, unit="noise_level", repeats=None),
}
BUDGETS = (1, 5, 6, 7, 11, 12, 13, 17, 23, 24, 25, 36, 60, 100, 150)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("chain", DETERMINISTIC)
def test_searches_in_rounds_never_exceed_their_budget(chain, method):
    made = 0
    for network in BUDGETS:
        with count_evaluations() as counted, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the budget did not pay for the final samples")
            try:
                found = run(
                    METHODS[method](), DETERMINISTIC[chain](), right, budget=Budget(network), progress=False
                )
                made += 1
                assert found.spent.rows == counted.rows
            except ValueError as error:
                assert "does not pay" in str(error)
        assert counted.rows <= network
    assert made, "the largest budget pays for something"


@pytest.mark.parametrize("chain", ANCESTRAL)
def test_particles_and_trees_never_exceed_their_budget(chain):
    for network in BUDGETS:
        with count_evaluations() as counted:
            tree = DiffusionTree(ANCESTRAL[chain](), right)
            tree.grow(network, batch=4, progress=False)
        assert counted.rows == tree.spent.rows <= network
        with count_evaluations() as counted:
            try:
                run(
                    FeynmanKac(particles=4, sweeps=None),
                    ANCESTRAL[chain](),
                    right,
                    budget=Budget(network),
                    progress=False,
                )
            except ValueError as error:
                assert "does not pay" in str(error)
        assert counted.rows <= network


@pytest.mark.parametrize(
    ("chain", "cost", "first"),
    [("plain", 6, 0), ("heun", 11, 0), ("singlestep", 16, 0), ("twice", 12, 2)],
    ids=["plain", "heun", "singlestep", "twice"],
)
def test_a_budget_of_exactly_one_sample_pays_and_one_less_is_refused_at_once(chain, cost, first):
    """The solver's own calls are known before the first; that guidance asks twice, after the first step."""
    exact = run(BestOf(), DETERMINISTIC[chain](), right, budget=Budget(cost), progress=False)
    assert exact.spent.rows == cost and exact.spent.verified == 1
    with count_evaluations() as counted, pytest.raises(ValueError, match="does not pay for"):
        run(BestOf(), DETERMINISTIC[chain](), right, budget=Budget(cost - 1), progress=False)
    assert counted.rows == first


def test_a_budget_tells_its_limits_in_words():
    for budget, told in (
        (Budget(5), "a budget of 5 network rows does not pay"),
        (Budget(verifier=1), "a budget of 1 verifications does not pay"),
        (Budget(5, 1), "a budget of 5 network rows and 1 verifications does not pay"),
    ):
        with pytest.raises(ValueError, match=told):
            run(BestOf(), DETERMINISTIC["plain"](), right, n=2, budget=budget, progress=False)


def test_a_tree_learns_from_one_step_that_it_cannot_pay():
    tree = DiffusionTree(twice(wv.DDPM()), right).grow(11, progress=False)
    assert tree.spent.rows == 2 and tree.grown == 0 and len(tree) == 1
    assert tree.grow(12, progress=False).grown == 1


def test_particles_learn_from_one_step_that_they_cannot_pay():
    with (
        count_evaluations() as counted,
        pytest.raises(ValueError, match="does not pay for the first round: .* 40"),
    ):
        run(FeynmanKac(particles=4), twice(wv.DDPM()), right, budget=Budget(47), progress=False)
    assert counted.rows == 8


def test_a_round_that_proves_too_dear_leaves_the_rounds_before():
    """A denoiser that asks twice from its seventh call on: the second round is broken off, and is counted."""
    model, calls = mixture(), []

    class Dearer:
        process, shape = model.process, model.shape

        def __call__(self, x, t, cond=None):
            calls.append(len(x))
            if len(calls) > STEPS:
                model(x, t)
            return model(x, t)

    chain = Chain(Dearer(), steps=STEPS, batch_size=1)
    found = run(BestOf(), chain, right, budget=Budget(network=17), progress=False)
    assert len(found.history) == 1 and found.history[0].rows == STEPS
    plain = sample(model, seeds=0, n=1, steps=STEPS, progress=False).x
    assert torch.equal(found.x, plain)
    # Each step was thought to cost one, as before.
    assert STEPS + 2 <= found.spent.rows <= 17 and found.spent.verified == 1


def test_final_samples_that_prove_too_dear_are_left_out_and_it_says_so():
    chain, final = Chain(classes(), steps=STEPS), twice(wv.DDIM())
    with pytest.warns(UserWarning, match="did not pay for the final samples"):
        found = run(RandomNoise(1, final=final), chain, right, budget=Budget(12), progress=False)
    assert found.spent.rows <= 12 and torch.equal(found.score, right(found.x).double())
    with pytest.raises(ValueError, match="one sample and the final one of each of 1 searches: that takes 12"):
        run(RandomNoise(1, final=twice(wv.DDIM())), chain, right, budget=Budget(11), progress=False)


@pytest.mark.parametrize(
    "sampler",
    [
        wv.Euler(),
        wv.DDIM(),
        wv.DDPM(),
        wv.Heun(),
        wv.Heun(churn=5.0),
        wv.DPMSolverPP(order=3),
        wv.UniPC(order=3),
        wv.EVODiff(),
    ]
    + [wv.DPMSolverSinglestep(order=2), wv.DPMSolverSinglestep.fast(11), wv.DPMSolverSDE()],
    ids=repr,
)
def test_a_rehearsal_counts_the_calls_that_a_run_makes(sampler):
    chain = Chain(mixture(), sampler=sampler, steps=5)
    found = rehearsed(sampler, chain.process, chain.times, chain.shape)
    made = sample(mixture(), seeds=0, n=3, sampler=sampler, steps=5, progress=False)
    assert sum(found) == made.calls and chain.cost() == made.calls
    chain.run(chain.start(chain.noise([0, 1])), [0, 1])
    assert chain.costs == list(found)


def test_a_limit_stops_the_call_that_would_exceed_it_and_no_other():
    with count_evaluations() as outer, count_evaluations(limit=10) as inner:
        record_evaluation(4)
        assert evaluations_left() == 6
        with (
            count_evaluations(limit=100),
            pytest.raises(EvaluationLimit, match="needs 7 network rows, and 6 are"),
        ):
            record_evaluation(7)
        record_evaluation(6)
    assert (outer.calls, outer.rows, inner.rows) == (2, 10, 10)
    record_evaluation(1000)
