"""Solvers compared on a model: errors against a fine solution, budgets kept, and what cannot be compared."""

import pytest
import torch

from windvane.conditions import Condition
from windvane.exact import GaussianMixtureDenoiser
from windvane.grids import log_snr, uniform
from windvane.guidance import ClassifierFree
from windvane.point_set import PointsDenoiser
from windvane.process import EDM, PFGMPP, RectifiedFlow, VPLinear
from windvane.samplers import (
    DDIM,
    DDPM,
    DPMSolverPP,
    DPMSolverSinglestep,
    EVODiff,
    Heun,
    UniPC,
    sample,
)
from windvane.tasks.solvers import at_calls, compare_solvers

SOLVERS = {
    "ddim": DDIM(),
    "heun": Heun(),
    "2s": DPMSolverSinglestep(order=2),
    "3s": DPMSolverSinglestep(order=3),
    "2m": DPMSolverPP(),
    "unipc3": UniPC(order=3),
    "evodiff": EVODiff(),
}
CALLS = (5, 8, 16, 24)


def model(process=None):
    means = [[-1.0, 0.2], [1.0, -0.5], [0.3, 1.0]]
    return GaussianMixtureDenoiser(
        [0.5, 0.3, 0.2], means, [0.2, 0.1, 0.15], process or EDM(20.0, 0.02), classes=[0, 1, 1]
    )


def compare(denoiser, solvers=SOLVERS, **settings):
    given = {"calls": CALLS, "n": 12, "reference_steps": 120, "progress": False, **settings}
    return compare_solvers(denoiser, solvers, **given)


@pytest.fixture(scope="module")
def found():
    return compare(model())


def test_an_error_is_the_distance_to_the_fine_solution(found):
    settings = {"seeds": 0, "n": 12, "progress": False, "grid": log_snr}
    truth = sample(model(), sampler=DPMSolverPP(order=3), steps=120, **settings).x.double()
    assert torch.equal(found.reference, truth) and found.reference_steps == 120
    point = next(p for p in found.points if (p.solver, p.budget) == ("2m", 8))
    x = sample(model(), sampler=DPMSolverPP(), steps=8, **settings).x.double()
    each = (x - truth).square().mean(1)
    assert point.error == pytest.approx(float(each.mean().sqrt()))
    assert point.median == pytest.approx(float(each.sqrt().median()))
    half = sample(model(), sampler=DPMSolverPP(order=3), steps=60, **settings).x.double()
    assert found.drift == pytest.approx(float((half - truth).square().mean().sqrt()))
    assert found.spread == pytest.approx(float((truth - truth.mean(0)).square().mean().sqrt()))


def test_errors_fall_and_budgets_are_kept(found):
    assert {(p.solver, p.budget) for p in found.points} == {(s, c) for s in SOLVERS for c in CALLS}
    assert not found.skipped
    by = {(p.solver, p.budget): p for p in found.points}
    for name in SOLVERS:
        assert by[name, 24].error < by[name, 5].error
        assert all(by[name, c].calls <= c and by[name, c].rows == by[name, c].calls for c in CALLS)
    assert [by["heun", c].calls for c in CALLS] == [5, 7, 15, 23]
    assert [by["3s", c].calls for c in CALLS] == list(CALLS)
    assert by["unipc3", 24].error < 0.3 * by["ddim", 24].error
    best = found.best(24)
    assert best.error == min(p.error for p in found.points)
    assert found.best(5).calls <= 5
    x, y = found.curves()["ddim"]
    assert x == list(CALLS) and y == [by["ddim", c].error for c in CALLS]
    with pytest.raises(ValueError, match="at most 2 calls; the fewest are 5"):
        found.best(2)


def test_what_cannot_be_compared_is_left_out_with_the_reason():
    found = compare(model(), {"ddpm": DDPM(), "evodiff": EVODiff(), "ddim": DDIM()}, grid=uniform)
    assert {p.solver for p in found.points} == {"ddim"}
    reasons = {line.solver: line for line in found.skipped}
    assert "adds noise" in reasons["ddpm"].reason
    assert "EVODiff needs a grid even in log-SNR" in reasons["evodiff"].reason
    assert len(found.skipped) == 2 and all(line.budget is None for line in found.skipped)


def test_the_batch_size_changes_the_time_only(found):
    again = compare(model(), batch_size=5)
    for one, other in zip(found.points, again.points, strict=True):
        assert one.calls == other.calls and one.error == pytest.approx(other.error, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("process", [VPLinear(), RectifiedFlow()], ids=lambda p: p.kind)
def test_other_processes_and_guidance(process):
    cond = Condition.vector(torch.arange(12) % 2)
    found = compare(ClassifierFree(model(process), 2.0), cond=cond, calls=(12,))
    point = next(p for p in found.points if p.solver == "ddim")
    assert point.calls == 12 and point.rows == 24
    assert found.drift < 0.05 * point.error and found.best(12).error < point.error


def test_heavy_tailed_noise_has_a_flow_too():
    points = PointsDenoiser(model().draw(20, 3), PFGMPP(16, 20.0, 0.02))
    found = compare(points, {"ddim": DDIM(), "unipc3": UniPC(order=3), "ddpm": DDPM()}, calls=(24,))
    assert found.best(24).solver == "unipc3" and [line.solver for line in found.skipped] == ["ddpm"]


def test_distances_are_between_decoded_pictures(found):
    doubled = compare(model(), {"2m": DPMSolverPP()}, decode=lambda x: 2 * x)
    plain = [p.error for p in found.points if p.solver == "2m"]
    assert [p.error for p in doubled.points] == pytest.approx([2 * error for error in plain], rel=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match="twice the largest budget of 24"):
        compare(model(), reference_steps=40)
    with pytest.raises(ValueError, match=r"at least 1, got \[0, 4\]"):
        compare(model(), calls=(0, 4))
    with pytest.raises(ValueError, match="at least one call, got 0"):
        at_calls(DDIM(), 0)
