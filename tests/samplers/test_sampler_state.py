"""Explicit states: indexing, restarts, outside changes, and the numbers multistep solvers stand on."""

import dataclasses
import math
from fractions import Fraction
from typing import NamedTuple

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.samplers.cases import PROCESSES, SAMPLERS, even_log_snr, mixture, name, normal, run
from windvane.evaluations import count_evaluations
from windvane.process import RectifiedFlow, VPLinear
from windvane.samplers import DDIM, BoundDenoiser, DPMSolverPP, History, UniPC, index_state, moved
from windvane.samplers.history import Level, first_order, level_at, psi


@pytest.mark.parametrize("process", PROCESSES, ids=name)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=name)
def test_copied_and_permuted_particles_go_on_as_their_originals(sampler, process):
    rows = torch.tensor([3, 0, 0, 2])
    denoise, times = BoundDenoiser(mixture(process)), even_log_snr(process, 8)
    noises = [normal(4, 2, seed=k) for k in range(8)]
    x = float(process.sigma(times[0])) * normal(4, 2, seed=99)
    middle, state = run(sampler, denoise, x, times[:5], sampler.init(x, times), noises[:4])
    whole, _ = run(sampler, denoise, middle, times[4:], state, noises[4:])
    picked = [noise[rows] for noise in noises[4:]]
    again, _ = run(sampler, denoise, middle[rows], times[4:], index_state(state, rows), picked)
    torch.testing.assert_close(again, whole[rows], rtol=1e-12, atol=1e-12)


class Pair(NamedTuple):
    first: torch.Tensor
    second: object


@dataclasses.dataclass(frozen=True)
class Nested:
    parts: dict
    scale: float


def test_indexing_walks_every_container_and_leaves_what_all_rows_share():
    rows, x, scalar = torch.tensor([2, 0]), torch.arange(6.0).reshape(3, 2), torch.tensor(7.0)
    got = index_state(Nested({"pair": Pair(x, [x, None, "name"]), "tuple": (scalar, 3)}, 0.5), rows)
    wanted = x[[2, 0]]
    assert torch.equal(got.parts["pair"].first, wanted) and torch.equal(got.parts["pair"].second[0], wanted)
    assert got.parts["pair"].second[1:] == [None, "name"]
    assert got.parts["tuple"] == (scalar, 3) and got.scale == 0.5
    assert torch.equal(index_state(x, slice(1, 2)), x[1:2])


@pytest.mark.parametrize("sampler", [DPMSolverPP(order=3), UniPC(order=3)], ids=name)
def test_a_step_leaves_the_state_it_was_given_as_it_was(sampler):
    denoise, times = BoundDenoiser(mixture(VPLinear())), even_log_snr(VPLinear(), 6)
    x, state = run(sampler, denoise, normal(3, 2), times[:4], sampler.init(normal(3, 2), times))
    before = [m.clone() for m in state.predictions]
    first, _ = sampler.step(denoise, x, times[3], times[4], state)
    again, _ = sampler.step(denoise, x, times[3], times[4], state)
    assert torch.equal(first, again)
    assert all(torch.equal(a, b) for a, b in zip(before, state.predictions))


def test_a_prediction_is_not_reused_after_x_was_moved():
    denoise, times = BoundDenoiser(mixture(VPLinear())), even_log_snr(VPLinear(), 6)
    sampler = UniPC()
    x, state = run(sampler, denoise, normal(3, 2), times[:3], sampler.init(normal(3, 2), times))
    with count_evaluations() as kept:
        sampler.step(denoise, x, times[2], times[3], state)
    with count_evaluations() as dropped:
        stepped, after = sampler.step(denoise, x + 1, times[2], times[3], moved(state))
    assert (kept.calls, dropped.calls) == (1, 2)
    torch.testing.assert_close(after.predictions[0], denoise(x + 1, times[2]))
    with count_evaluations() as elsewhere:  # another time than the one the prediction was made for
        sampler.step(denoise, x, times[1], times[3], state)
    assert elsewhere.calls == 2
    assert moved(()) == () and moved(5) == 5


@pytest.mark.parametrize("sampler", [DPMSolverPP(order=3), UniPC(order=3)], ids=name)
def test_after_a_return_to_a_noisier_time_the_history_is_not_used(sampler):
    denoise, times = BoundDenoiser(mixture(VPLinear())), even_log_snr(VPLinear(), 8)
    x, state = run(sampler, denoise, normal(3, 2), times[:5], sampler.init(normal(3, 2), times))
    noisier = VPLinear().renoise(x, times[4], times[1], normal(3, 2, seed=1))
    stepped, _ = sampler.step(denoise, noisier, times[1], times[2], moved(state))
    fresh, _ = sampler.step(denoise, noisier, times[1], times[2], sampler.init(noisier, times))
    torch.testing.assert_close(stepped, fresh, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sampler", [DPMSolverPP(order=3), UniPC(order=3)], ids=name)
def test_more_steps_than_the_grid_had_are_first_order_at_the_end(sampler):
    denoise, times = BoundDenoiser(mixture(VPLinear())), even_log_snr(VPLinear(), 6)
    x, state = run(sampler, denoise, normal(3, 2), times, sampler.init(normal(3, 2), times[:4]))
    last, previous = run(sampler, denoise, normal(3, 2), times[:-1], sampler.init(normal(3, 2), times[:4]))
    wanted, _ = DDIM().step(denoise, last, times[-2], times[-1], ())
    torch.testing.assert_close(x, wanted)
    assert state.steps_left == -3 and previous.steps_left == -2


def orders(steps, highest, halves, **settings):
    """The order of each step of a grid given by its half log-SNRs."""
    history, out = History(steps_left=steps), []
    for here, there in zip(halves[:-1], halves[1:]):
        history = history.push(here, torch.zeros(1), keep=highest)
        level = Level(1.0, 0.0 if there == math.inf else 1.0, there)
        out.append(history.order(highest, level, **settings))
        history = history.advance()
    return out


def test_the_order_grows_at_the_start_and_falls_at_the_end():
    halves = [float(k) for k in range(8)]
    assert orders(7, 3, halves, lower_order_final=True) == [1, 2, 3, 3, 3, 2, 1]
    assert orders(7, 3, halves, lower_order_final=False) == [1, 2, 3, 3, 3, 3, 3]
    assert orders(7, 2, halves, lower_order_final=True) == [1, 2, 2, 2, 2, 2, 1]
    # A step to sigma = 0 is first order always; a start at alpha = 0 gives nothing to extrapolate from.
    ends = [-math.inf, *halves[1:-1], math.inf]
    assert orders(7, 3, ends, lower_order_final=False) == [1, 1, 2, 3, 3, 3, 1]
    # Turning back starts again.
    assert orders(6, 3, [0.0, 1.0, 2.0, 0.5, 1.5, 2.5, 3.5], lower_order_final=False) == [1, 2, 1, 1, 2, 3]


@settings(max_examples=40)
@given(st.integers(0, 4), st.floats(-3, 3))
def test_psi_is_its_series(k, z):
    exact = Fraction(z)
    total, term = Fraction(0), Fraction(1, math.factorial(k))
    for j in range(1, 40):
        term = term * exact / (k + j)
        total += term
    # The recursion outside |z| < 1 may lose a few digits, no more.
    assert psi(k, z) == pytest.approx(float(total), rel=1e-11, abs=1e-300)


def test_psi_has_its_limit_far_away():
    assert psi(0, -200.0) == -1.0
    assert psi(2, -200.0) == pytest.approx((-1 / -200 - 1) / -200 - 0.5)


@pytest.mark.parametrize("process", PROCESSES, ids=name)
@settings(max_examples=40)
@example(0.5, 1.0)
@example(1.0, 0.0)
@given(st.floats(0.02, 1.0), st.floats(0.0, 1.0))
def test_the_first_order_step_is_ddim_between_any_two_times(process, t, s):
    t, s = torch.tensor(t, dtype=torch.float64), torch.tensor(s, dtype=torch.float64)
    x, x0 = normal(2, 2), normal(2, 2, seed=1)
    got = first_order(x, x0, level_at(process, t), level_at(process, s))
    eps = (x - process.alpha(t) * x0) / process.sigma(t)
    torch.testing.assert_close(got, process.alpha(s) * x0 + process.sigma(s) * eps, rtol=1e-9, atol=1e-11)


def test_levels_are_infinite_at_both_ends_of_the_rectified_flow():
    ends = [level_at(RectifiedFlow(), torch.tensor(t, dtype=torch.float64)) for t in (0.0, 0.5, 1.0)]
    assert [level.half for level in ends] == [math.inf, 0.0, -math.inf]
