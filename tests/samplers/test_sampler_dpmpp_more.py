"""DPM-Solver++ 2S, 3S and the SDE solvers: written-out formulas, equivalences, counts, orders."""

import dataclasses
import math

import pytest
import torch

from tests.samplers.cases import PROCESSES, even_log_snr, gaussian, mixture, name, normal, run
from tests.samplers.test_sampler_order import slope
from windvane.evaluations import count_evaluations
from windvane.process import VPLinear, VPTable
from windvane.samplers import (
    DDIM,
    DDPM,
    BoundDenoiser,
    DPMSolverPP,
    DPMSolverSDE,
    DPMSolverSinglestep,
    sample,
    singlestep_orders,
)

QUIET = {"progress": False, "dtype": torch.float64}


def numbers(process, half):
    """alpha, sigma and the time at a half log-SNR."""
    t = process.t_of_log_snr(torch.tensor(2 * half, dtype=torch.float64))
    return float(process.alpha(t)), float(process.sigma(t)), t


@pytest.mark.parametrize("process", PROCESSES, ids=name)
@pytest.mark.parametrize("order", [2, 3])
def test_a_singlestep_step_is_its_formula(order, process):
    model, x, l_t, h = mixture(process), normal(4, 2), -1.1, 0.7
    (_, s0, t), (a1, s1, s) = numbers(process, l_t), numbers(process, l_t + h)
    got, state = DPMSolverSinglestep(order=order).step(BoundDenoiser(model), x, t, s, 0)
    m0 = model(x, t)
    base = s1 / s0 * x + a1 * (1 - math.exp(-h)) * m0
    if order == 2:
        a, b, u = numbers(process, l_t + h / 2)
        inner = b / s0 * x + a * (1 - math.exp(-h / 2)) * m0
        wanted = base + a1 * (1 - math.exp(-h)) * (model(inner, u) - m0)
    else:
        a, b, u = numbers(process, l_t + h / 3)
        m1 = model(b / s0 * x + a * (1 - math.exp(-h / 3)) * m0, u)
        a, b, u = numbers(process, l_t + 2 * h / 3)
        bend = 2 * a * ((math.exp(-2 * h / 3) - 1) / (2 * h / 3) + 1)
        m2 = model(b / s0 * x + a * (1 - math.exp(-2 * h / 3)) * m0 + bend * (m1 - m0), u)
        wanted = base + a1 * ((math.exp(-h) - 1) / h + 1) * (m2 - m0) / (2 / 3)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-10)
    assert state == 1


def test_the_fast_orders_are_the_authors():
    wanted = {
        1: [1],
        2: [2],
        3: [2, 1],
        4: [3, 1],
        5: [3, 2],
        6: [3, 2, 1],
        9: [3, 3, 2, 1],
        11: [3, 3, 3, 2],
    }
    assert {n: list(singlestep_orders(n)) for n in wanted} == wanted
    assert [singlestep_orders(n, 2) for n in (4, 5)] == [(2, 2), (2, 2, 1)]
    assert all(sum(singlestep_orders(n, p)) == n for n in range(1, 30) for p in (1, 2, 3))
    with pytest.raises(ValueError, match="evaluations must be an integer >= 1, got 0"):
        singlestep_orders(0)


@pytest.mark.parametrize("evaluations", [1, 2, 7, 12])
def test_the_fast_solver_spends_exactly_its_budget(evaluations):
    solver = DPMSolverSinglestep.fast(evaluations)
    drawn = sample(mixture(VPLinear()), seeds=0, n=3, sampler=solver, steps=len(solver.orders), **QUIET)
    assert (drawn.calls, drawn.rows_per_sample) == (evaluations, evaluations)


def test_the_orders_of_the_steps_are_used_in_turn():
    denoise, times = BoundDenoiser(mixture(VPLinear())), even_log_snr(VPLinear(), 4)
    solver = DPMSolverSinglestep(order=1, orders=(3, 2))
    got, _ = run(solver, denoise, normal(3, 2), times)
    wanted, _ = run(DPMSolverSinglestep(order=3), denoise, normal(3, 2), times[:2])
    wanted, _ = run(DPMSolverSinglestep(order=2), denoise, wanted, times[1:3])
    wanted, _ = run(DDIM(), denoise, wanted, times[2:])
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("process", PROCESSES, ids=name)
def test_the_first_order_sde_solver_is_ancestral_sampling(process):
    settings = {"seeds": 0, "n": 6, "steps": 9, **QUIET}
    ours = sample(mixture(process), sampler=DPMSolverSDE(order=1), **settings)
    theirs = sample(mixture(process), sampler=DDPM(), grid=ours.times, seeds=0, n=6, **QUIET)
    torch.testing.assert_close(ours.x, theirs.x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 3, 12])
def test_the_second_order_sde_solver_is_diffusers(steps):
    from diffusers import DPMSolverMultistepScheduler

    from tests.samplers.test_sampler_diffusers import SETTINGS, in_double, ours, setting, with_exact_sigmas
    from windvane.convert import eps_from_x0

    scheduler = in_double(
        DPMSolverMultistepScheduler(
            **SETTINGS, algorithm_type="sde-dpmsolver++", solver_order=2, solver_type="midpoint",
            final_sigmas_type="zero", lower_order_final=False,
        )
    )  # fmt: skip
    denoise, times = setting(scheduler, steps)
    assert isinstance(denoise.process, VPTable)
    with_exact_sigmas(scheduler, times, denoise.process)
    noises = [normal(6, 2, seed=k + 1) for k in range(steps)]
    x = normal(6, 2)
    got = ours(DPMSolverSDE(lower_order_final=False), denoise, x, times, noises)
    for k, index in enumerate(scheduler.timesteps):
        eps = eps_from_x0(denoise.process, x, denoise(x, times[k]), times[k])
        x = scheduler.step(eps, index, x, variance_noise=noises[k]).prev_sample
    torch.testing.assert_close(got, x.double(), rtol=0, atol=2e-5)


def sde_step(process):
    """A second step with a history, and what it started from."""
    denoise, times = BoundDenoiser(mixture(process)), even_log_snr(process, 6)
    x, noise = float(process.sigma(times[0])) * normal(4, 2), normal(4, 2, seed=1)
    solver = DPMSolverSDE()
    x1, state = solver.step(denoise, x, times[0], times[1], solver.init(x, times), noise)
    return denoise, solver, times, (x, x1), state, noise


@pytest.mark.parametrize("process", PROCESSES, ids=name)
def test_a_second_order_sde_step_is_its_formula(process):
    denoise, solver, times, (x0, x1), state, noise = sde_step(process)
    mean, std, _ = solver.transition(denoise, x1, times[1], times[2], state)
    h = float(process.log_snr(times[2]) - process.log_snr(times[1])) / 2
    alpha, sigma = float(process.alpha(times[2])), float(process.sigma(times[2]))
    m0, m1 = denoise(x1, times[1]), denoise(x0, times[0])
    drift = m0 + 0.5 * (m0 - m1)  # even steps: r = 1
    wanted = sigma / float(process.sigma(times[1])) * math.exp(-h) * x1
    torch.testing.assert_close(mean, wanted + alpha * (1 - math.exp(-2 * h)) * drift, rtol=1e-8, atol=1e-9)
    assert float(std) == pytest.approx(sigma * math.sqrt(1 - math.exp(-2 * h)))
    stepped, _ = solver.step(denoise, x1, times[1], times[2], state, noise)
    assert torch.equal(stepped, mean + std * noise)


def variance_error(solver, process, steps):
    """Weak error in the variance. On a Gaussian x_s is linear in x_t and in the last prediction, so their
    covariances can be carried along exactly, with no sample drawn."""
    model, times = gaussian(process), even_log_snr(process, steps)
    denoise, spread = BoundDenoiser(model), model.variances[0]
    # Rows: nothing, x alone, the last prediction alone.
    zero, one = torch.zeros(1, 3, dtype=torch.float64), torch.ones(1, 3, dtype=torch.float64)
    x, old = torch.cat([zero, one, zero]), torch.cat([zero, zero, one])
    var = process.alpha(times[0]) ** 2 * spread + process.sigma(times[0]) ** 2
    shared = var_old = torch.zeros(3, dtype=torch.float64)
    state = solver.init(x, times)
    for t, s in zip(times[:-1], times[1:]):
        if len(state.predictions) > 0:
            state = dataclasses.replace(state, predictions=(old,))
        mean, std, state = solver.transition(denoise, x, t, s, state)
        by_x, by_old = mean[1] - mean[0], mean[2] - mean[0]
        gain = denoise(x, t)[1] - denoise(x, t)[0]
        var, shared, var_old = (
            by_x**2 * var + 2 * by_x * by_old * shared + by_old**2 * var_old + std**2,
            gain * (by_x * var + by_old * shared),
            gain**2 * var,
        )
        state = dataclasses.replace(state, halves=state.halves[:1], predictions=state.predictions[:1])
    exact = process.alpha(times[-1]) ** 2 * spread + process.sigma(times[-1]) ** 2
    return float((var - exact).norm())


@pytest.mark.parametrize("process", PROCESSES, ids=name)
@pytest.mark.parametrize("order", [1, 2])
def test_the_sde_solver_converges_weakly_with_its_order(order, process):
    steps = (80, 120, 180)
    solver = DPMSolverSDE(order=order, lower_order_final=False)
    measured = slope(steps, [variance_error(solver, process, n) for n in steps])
    assert measured == pytest.approx(order, abs=0.2)


def test_wrong_settings_are_refused_with_the_value():
    for make, complaint in [
        (lambda: DPMSolverSDE(order=3), "got 3"),
        (lambda: DPMSolverSinglestep(order=4), "got 4"),
        (lambda: DPMSolverSinglestep(orders=(1, 5)), "one of 1, 2, 3, got 5"),
    ]:
        with pytest.raises(ValueError, match=complaint):
            make()


def test_equal_calls_compare_singlestep_and_multistep_honestly():
    """The table of the documentation rests on this: at 13 calls 2M beats 2S on an even grid."""
    model, x = gaussian(VPLinear()), normal(5, 3)
    exact = model.flow(x, 1.0, 0.0)
    settings = {"start": (x, 1.0), "seeds": 0, **QUIET}
    with count_evaluations() as single:
        one = sample(model, sampler=DPMSolverSinglestep(order=2), steps=7, **settings).x
    with count_evaluations() as multi:
        many = sample(model, sampler=DPMSolverPP(order=2), steps=13, **settings).x
    assert single.calls == multi.calls == 13
    assert (many - exact).norm() < (one - exact).norm()
