"""Trajectory stitching: FLOPs to the last one, the lattice, the sweep and what a budget picks."""

import pytest
import torch

from windvane.compress import lattice, measure_cost, row_flops, similarity, stitched, sweep, within_budget
from windvane.conditions import Condition
from windvane.denoiser import NetworkDenoiser
from windvane.exact import GaussianDenoiser
from windvane.guidance import ClassifierFree
from windvane.networks import ResidualMLP
from windvane.process import EDM, VPCosine
from windvane.randomness import scoped_seed
from windvane.samplers import DDIM, Heun, sample

QUIET = {"progress": False}


def mlp(width, blocks):
    with scoped_seed(width):
        network = ResidualMLP(4, width=width, blocks=blocks, vector=3)
    torch.nn.init.normal_(network.last.weight, generator=torch.Generator().manual_seed(0))
    return NetworkDenoiser(network, VPCosine(), parametrisation="v", shape=(4,))


SMALL, LARGE = mlp(8, 1), mlp(32, 2)


def test_the_operations_of_a_network_are_those_of_its_layers():
    linear = [m for m in LARGE.network.modules() if isinstance(m, torch.nn.Linear)]
    cond = Condition.vector(torch.tensor([1]))
    assert row_flops(LARGE, cond) == sum(2 * m.in_features * m.out_features for m in linear)
    assert row_flops(LARGE) > 20 * row_flops(SMALL) / 3


@pytest.mark.parametrize("sampler", [DDIM(), Heun()], ids=repr)
@pytest.mark.parametrize("weight", [1.0, 2.0])
def test_the_cost_of_a_run_is_the_sum_over_the_models(sampler, weight):
    cond = Condition.vector(torch.tensor([0, 1, 2]))
    routed = stitched([SMALL, LARGE], [0.4, 0.6])
    guided = ClassifierFree(routed, weight)
    cost = measure_cost(
        lambda: sample(guided, seeds=0, cond=cond, sampler=sampler, steps=10, **QUIET), routed
    )
    rows = 3 if weight == 1 else 6
    calls = (4, 6) if isinstance(sampler, DDIM) else (8, 11)
    assert cost.per_model == tuple((c, rows * c) for c in calls)
    assert (cost.calls, cost.rows) == (sum(calls), rows * sum(calls))
    flops = [row_flops(m, cond.index(slice(0, 1))) for m in (SMALL, LARGE)]
    assert cost.flops == sum(f * r for f, (_, r) in zip(flops, cost.per_model))


def test_the_lattice_of_three_models_has_66_points():
    points = lattice(3)
    assert len(points) == len(set(points)) == 66
    assert all(sum(p) == pytest.approx(1) for p in points)
    assert lattice(2, parts=2) == [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)]
    priced = within_budget([1.6, 4.0, 16.5], 10.0)
    assert priced[0][1] <= 10.0 and [c for _, c in priced] == sorted((c for _, c in priced), reverse=True)
    brute = [p for p in points if 1.6 * p[0] + 4.0 * p[1] + 16.5 * p[2] <= 10.0]
    assert {p for p, _ in priced} == set(brute)
    with pytest.raises(ValueError, match="below the cheapest"):
        within_budget([1.6, 4.0], 1.0)


def test_a_sweep_measures_the_stitchings_and_a_budget_picks_one():
    """Gaussians: the small model's mean is wrong, and the later it leaves, the more of that stays."""
    truth = GaussianDenoiser([1.0], 0.25, EDM())
    wrong = GaussianDenoiser([1.5], 0.25, EDM())
    reference = sample(truth, seeds=0, n=64, steps=20, **QUIET).x

    def error(routed):
        return float((sample(routed, seeds=0, n=64, steps=20, **QUIET).x - reference).square().mean().sqrt())

    found = sweep([wrong, truth], error, costs=[1.0, 9.0], **QUIET)
    assert [p.fractions[0] for p in found.points] == [(10 - k) / 10 for k in range(11)]
    assert [p.cost for p in found.points] == pytest.approx([1.0 + 0.8 * k for k in range(11)])
    assert found.points[-1].error == 0 and found.points[0].error > 0.4
    best = found.best(5.0)
    assert best.cost <= 5.0 and best.error == min(p.error for p in found.points if p.cost <= 5.0)
    errors = [p.error for p in found.frontier()]
    assert errors == sorted(errors, reverse=True) and found.frontier()[-1].error == 0
    table = str(found).splitlines()
    assert len(table) == 13 and table[1].startswith("100/0") and table[1].endswith("*")
    with pytest.raises(ValueError, match="the cheapest costs 1"):
        found.best(0.5)
    with pytest.raises(ValueError, match="as many costs"):
        sweep([wrong, truth], error, costs=[1.0], **QUIET)


def test_a_sweep_may_count_what_a_stitching_takes():
    """Three steps have no half: the counted cost is that of whole steps, the mean one is not."""

    def counted(routed):
        return measure_cost(lambda: sample(routed, seeds=0, n=1, steps=3, **QUIET), routed).flops

    halves = [(0.5, 0.5), (0.0, 1.0)]
    found = sweep([SMALL, LARGE], lambda routed: 0.0, costs=counted, fractions=halves, **QUIET)
    small, large = row_flops(SMALL), row_flops(LARGE)
    assert [p.cost for p in found.points] == [2 * small + large, 3 * large]
    mean = sweep([SMALL, LARGE], lambda routed: 0.0, costs=[small, large], fractions=halves, **QUIET)
    assert mean.points[0].cost == (small + large) / 2


def test_similarity_is_the_cosine_of_the_predicted_noise():
    first, second = GaussianDenoiser([1.0, 0.0], 0.25, EDM()), GaussianDenoiser([0.0, 1.0], 0.25, EDM())
    drawn = sample(first, seeds=0, n=16, steps=12, record=True, dtype=torch.float64, **QUIET)
    found = similarity(first, second, drawn.trajectory.x[:-1], drawn.times[:-1])
    assert found[0] > 0.999 and found[-1] < 0.9
    x, t = drawn.trajectory.x[5], drawn.times[5]
    eps = [(x - m(x, t)) / m.process.sigma(t) for m in (first, second)]
    wanted = ((eps[0] * eps[1]).sum(1) / eps[0].norm(dim=1) / eps[1].norm(dim=1)).mean()
    torch.testing.assert_close(found[5], wanted)


def test_unknown_clocks_are_refused():
    with pytest.raises(ValueError, match="unknown clock 'noise'; known: steps, t, log_snr"):
        stitched([SMALL, LARGE], [0.5, 0.5], by="noise")
