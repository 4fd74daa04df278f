"""Every solver on every grid is right in the limit; and the rules at both ends of a grid, for each."""

import pytest
import torch

from tests.samplers.cases import DETERMINISTIC, PROCESSES, gaussian, mixture, name, normal
from windvane.exact import GaussianMixtureDenoiser
from windvane.grids import grid_named, log_snr
from windvane.process import EDM, RectifiedFlow, VPLinear
from windvane.registry import entries, known_names
from windvane.samplers import (
    DDIM,
    BoundDenoiser,
    DPMSolverPP,
    DPMSolverSDE,
    DPMSolverSinglestep,
    EVODiff,
    Heun,
    UniPC,
    sample,
    start_from,
)

QUIET = {"progress": False, "dtype": torch.float64}


def error(sampler, process, grid, steps):
    """Distance to the flow's own end from the same noise, in units of the data's spread."""
    model = gaussian(process)
    drawn = sample(model, seeds=0, n=6, sampler=sampler, steps=steps, grid=grid, record=True, **QUIET)
    end = model.flow(drawn.trajectory.x[0], drawn.times[0], torch.tensor(0.0, dtype=torch.float64))
    return float((drawn.x - end).square().mean().sqrt())


@pytest.mark.parametrize("process", PROCESSES, ids=name)
@pytest.mark.parametrize("grid", known_names("grid"))
def test_every_solver_converges_on_every_grid(grid, process):
    """What log-SNR and EDM grids leave out below t_min, all solvers leave out alike."""
    for sampler in DETERMINISTIC:
        coarse, fine = (error(sampler, process, grid_named(grid), steps) for steps in (20, 160))
        assert fine < max(0.5 * coarse, 5e-3), sampler
        assert fine < 0.2, sampler


@pytest.mark.parametrize("process", PROCESSES, ids=name)
def test_evodiff_converges_on_its_own_grid(process):
    coarse, fine = (error(EVODiff(), process, log_snr, steps) for steps in (20, 160))
    assert fine < coarse and fine < 0.1


@pytest.mark.parametrize("process", [VPLinear(), EDM()], ids=name)
@pytest.mark.parametrize(
    "sampler", [DPMSolverPP(order=3), UniPC(order=3), UniPC(order=3, corrector=False)], ids=name
)
def test_the_first_steps_of_a_high_order_are_those_of_lower_orders(sampler, process):
    """Warm-up 1, 2, 3: after k steps a solver of order 3 is where one of order k is, until k = 3."""
    model, times = mixture(process), log_snr(process, 12)

    def after(steps, **changed):
        changed = {"lower_order_final": False, **changed}
        solver = type(sampler)(**{**vars(sampler), **changed})
        given = {"seeds": 0, "n": 4, "sampler": solver, "grid": times, "record": True, **QUIET}
        return sample(model, **given).trajectory.x[steps]

    for steps in (1, 2):
        torch.testing.assert_close(after(steps), after(steps, order=steps), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(after(3), after(3, order=2), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("steps", [2, 3, 5])
@pytest.mark.parametrize("solver", [DPMSolverPP, UniPC])
def test_the_last_steps_of_a_high_order_are_those_of_lower_orders(solver, steps):
    """With lower_order_final the last step above zero is first order, the one before it at most second."""
    process = EDM(20.0, 0.02)
    model = mixture(process)
    times = log_snr(process, steps + 1)[:-1]
    x = normal(4, 2) * 20

    def ends(**settings):
        start = (x, float(times[0]))
        given = {"seeds": 0, "grid": times, "start": start, "record": True, **QUIET}
        if solver is UniPC:
            settings["corrector"] = False
        return sample(model, sampler=solver(**settings), **given)

    low = ends(order=3, lower_order_final=True)
    free = ends(order=3, lower_order_final=False)
    before, last = low.trajectory.x[-2], low.trajectory.x[-1]
    one = sample(model, seeds=0, sampler=DDIM(), grid=times[-2:], start=(before, float(times[-2])), **QUIET).x
    torch.testing.assert_close(last, one, rtol=1e-10, atol=1e-11)
    assert not torch.allclose(free.x, low.x)


@pytest.mark.parametrize("process", [VPLinear(), EDM()], ids=name)
@pytest.mark.parametrize("steps", [3, 5, 12])
@pytest.mark.parametrize(
    "solver",
    [
        lambda low: DPMSolverPP(order=2, lower_order_final=low),
        lambda low: DPMSolverPP(order=3, lower_order_final=low),
        lambda low: UniPC(order=2, lower_order_final=low),
        lambda low: UniPC(order=3, variant="bh1", lower_order_final=low),
        lambda low: DPMSolverSDE(order=2, lower_order_final=low),
        lambda low: EVODiff(lower_order_final=low),
    ],
    ids=["2M", "3M", "UniPC-2", "UniPC-3 bh1", "SDE", "EVODiff"],
)
def test_lower_order_final_acts_on_the_usual_grids_which_end_at_zero(solver, steps, process):
    """The last step above zero is then the first-order one; the step to zero would be anyway."""
    model, settings = mixture(process), {"seeds": 0, "n": 4, "steps": steps, "record": True, **QUIET}
    low, free = (sample(model, sampler=solver(lowered), **settings) for lowered in (True, False))
    assert (low.x - free.x).abs().max() > 1e-6
    if isinstance(solver(True), DPMSolverPP):
        times, before = low.times[-3:], low.trajectory.x[-3]
        one = DDIM().step(BoundDenoiser(model), before, times[0], times[1], ())[0]
        torch.testing.assert_close(low.trajectory.x[-2], one)


@pytest.mark.parametrize("calls", [3, 4, 5, 6])
def test_order_3_on_few_steps_needs_lower_orders_at_the_end(calls):
    """On separated mixtures the third order's last step above zero overshoots two to four times as far."""
    process = VPLinear()
    model = GaussianMixtureDenoiser(
        [0.5, 0.3, 0.2], [[-2.0, 0.0], [2.0, 0.5], [0.0, 2.5]], [0.05, 0.1, 0.02], process=process
    )
    settings = {"seeds": 0, "n": 256, "grid": log_snr, **QUIET}
    truth = sample(model, sampler=Heun(), steps=100, **settings).x

    def error(low):
        solver = UniPC(order=3, variant="bh1", lower_order_final=low)
        drawn = sample(model, sampler=solver, steps=calls, **settings).x
        return float((drawn - truth).square().mean().sqrt())

    assert error(True) < 0.85 * error(False)


@pytest.mark.parametrize("process", [VPLinear(), EDM(), RectifiedFlow()], ids=name)
@pytest.mark.parametrize("t", [0.9, 0.47, 0.11])
@pytest.mark.parametrize("steps", [2, 3, 7, 20])
@pytest.mark.parametrize("low", [True, False])
def test_evodiff_starts_anywhere(process, t, steps, low):
    model = mixture(process)
    picture = normal(4, 2)
    start = start_from(process, picture, t, seeds=0)
    drawn = sample(model, seeds=0, sampler=EVODiff(lower_order_final=low), steps=steps, start=start, **QUIET)
    assert float(drawn.times[0]) == t and float(drawn.times[-1]) == 0
    fine = sample(model, seeds=0, sampler=Heun(), steps=200, grid=log_snr, start=start, **QUIET)
    assert (drawn.x - fine.x).square().mean().sqrt() < (picture - fine.x).square().mean().sqrt() + 0.5


@pytest.mark.parametrize("t", [0.0, -0.1, 1.5, float("nan")])
def test_a_start_without_noise_is_refused(t):
    with pytest.raises(
        ValueError, match="0 < t <= 1, got t=|t of start_from must be a finite number, got nan"
    ):
        start_from(VPLinear(), normal(4, 2), t, seeds=0)


@pytest.mark.parametrize("steps", [3, 6])
@pytest.mark.parametrize("sampler", [EVODiff(lower_order_final=False), EVODiff()], ids=str)
def test_evodiffs_result_is_the_prediction_at_its_last_state(sampler, steps):
    model = mixture(EDM())
    drawn = sample(model, seeds=0, n=4, sampler=sampler, steps=steps, record=True, **QUIET)
    last = model(drawn.trajectory.x[-2], drawn.times[-2].expand(4))
    torch.testing.assert_close(drawn.x, last)


@pytest.mark.parametrize("sampler", [*DETERMINISTIC, EVODiff()], ids=name)
@pytest.mark.parametrize("process", [VPLinear(), EDM(), RectifiedFlow()], ids=name)
def test_denoise_to_zero_is_one_more_call_at_the_last_noise(sampler, process):
    """N steps to zero are N - 1 steps to the smallest noise and the prediction there."""
    steps = 7
    times = log_snr(process, steps)
    model = mixture(process)
    whole = sample(model, seeds=0, n=4, sampler=sampler, grid=times, record=True, **QUIET)
    last = whole.trajectory.x[-2]
    if isinstance(sampler, UniPC) and sampler.corrector:
        # Its prediction at the last time was made before the corrector moved x, and is not made again.
        torch.testing.assert_close(whole.x, whole.trajectory.x0[-1], rtol=0, atol=1e-10)
    else:
        torch.testing.assert_close(whole.x, model(last, times[-2]), rtol=0, atol=1e-9)
    per_step = {Heun: 2, DPMSolverSinglestep: getattr(sampler, "order", 1)}.get(type(sampler), 1)
    assert whole.calls == per_step * (steps - 1) + 1


def test_the_lists_hold_every_deterministic_solver():
    kinds = {type(s) for s in DETERMINISTIC} | {EVODiff}
    made = [row.make() for row in entries("sampler")]
    assert {type(sampler) for sampler in made if not sampler.stochastic} <= kinds
