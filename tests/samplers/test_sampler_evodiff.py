"""EVODiff against its formula, its counts, its refusals, and the bars of few-step sampling."""

import math

import pytest
import torch

from tests.samplers.cases import PROCESSES, even_log_snr, gaussian, mixture, name, normal, run, small
from tests.samplers.digit_mixture import digit_mixture
from tests.samplers.test_sampler_order import slope
from windvane.conditions import Condition
from windvane.denoiser import FunctionDenoiser
from windvane.exact import GaussianDenoiser, GaussianMixtureDenoiser
from windvane.grids import edm, log_snr, uniform
from windvane.process import EDM, RectifiedFlow, VPLinear, expand
from windvane.samplers import (
    DDIM,
    BoundDenoiser,
    DPMSolverPP,
    EVODiff,
    Heun,
    UniPC,
    default_grid,
    index_state,
    moved,
    sample,
    start_from,
)

QUIET = {"progress": False, "dtype": torch.float64}
WIDE = EDM(sigma_max=20.0, sigma_min=0.02)


def proj(a, b):
    """Per sample and channel, clipped."""
    axes = tuple(range(2, a.ndim)) if a.ndim > 2 else (1,)
    return ((a * b).sum(axes, keepdim=True) / (b * b).sum(axes, keepdim=True)).clamp(-2, 2)


def published(model, x, sigmas):
    """The released update for alpha = 1 and the given levels, down to the last; then one call to zero."""
    S, end, start = torch.sigmoid, sigmas[-1], sigmas[0]
    time = lambda sigma: torch.tensor(sigma / WIDE.sigma_max, dtype=torch.float64)  # noqa: E731
    steps, ready, M1, before = len(sigmas) - 1, None, None, None
    for k, (sigma_s, sigma_t) in enumerate(zip(sigmas[:-1], sigmas[1:])):
        M0 = model(x, time(sigma_s)) if ready is None else ready
        ready, h = None, math.log(sigma_s / sigma_t)
        tau = 1 / sigma_t - 1 / sigma_s
        X = sigma_t / sigma_s * x + (1 - math.exp(-h)) * M0
        if k == 0:
            x_t = X
        elif k == steps - 1:
            rho = sigma_t / sigma_s
            c = 1 - 0.5 * math.sqrt(rho) if rho < 0.5 else 1 - 0.5 * math.sqrt(rho - 0.5)
            x_t = (1 - math.sqrt(sigma_t * sigma_s)) * X + 0.5 * sigma_t * tau * (M0 - c * M1)
        else:
            rl = math.log(before / sigma_s) / h
            w = 0.5 * (1 - ((sigma_t + end) / (start + end)) ** 2)
            q = math.sqrt((sigma_t / sigma_s) / (sigma_s / before))
            g1 = (1 - w) * q + w * proj(M0, M1)
            D1 = M0 - g1 * M1
            ri = (S(0.25 * g1.abs()) * rl).clamp(0.25 * rl, 1.5 * rl)
            xp = X + 0.5 * sigma_t * tau * D1 / ri
            Mt = model(xp, time(sigma_t))
            g2 = (1 - w) * q + w * proj(Mt, M0)
            D2 = Mt - g2 * M0
            Bp, Bn = D1 / (rl * tau), rl * D2 / tau
            eta = 0.5 * S((0.5 * proj(Bn + Bp, Bn - Bp)).abs())
            B = -(eta / rl) * D1 + rl * (1 - eta) * D2
            P = xp - X - 0.5 * sigma_t * tau * B / ri
            z = (proj(P, D1) / (tau * sigma_t)).abs() - 0.5
            if steps > 20:
                z = -z * S(proj(M0, (M0 - M1) / tau) * (2 - (sigma_t / sigma_s) ** 2))
            x_t = X + 0.5 * sigma_t * tau * B / S(z)
            ready = Mt
        x, M1, before = x_t, M0, sigma_s
    return model(x, time(end))


@pytest.mark.parametrize("steps", [2, 3, 4, 9, 21, 22, 26])
@pytest.mark.parametrize("shape", [(6,), (2, 3, 1)], ids=["flat", "channels"])
def test_the_update_is_the_published_one(steps, shape):
    means = normal(4, 6, seed=3)
    model = GaussianMixtureDenoiser([1.0] * 4, means, [0.1, 0.2, 0.05, 0.3], WIDE, shape=shape)
    drawn = sample(model, seeds=0, n=5, sampler=EVODiff(), steps=steps, record=True, **QUIET)
    begin = drawn.trajectory.x[0]
    wanted = published(model, begin, WIDE.sigma(drawn.times[:-1]).tolist())
    torch.testing.assert_close(drawn.x, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("process", PROCESSES, ids=name)
def test_another_process_is_the_same_on_the_rescaled_state(process):
    """D is the posterior mean of the same data, so the path of x / alpha is EDM's path."""
    levels = torch.linspace(2.0, -4.0, 9, dtype=torch.float64).exp()
    x = normal(5, 2)
    ends = []
    for kind in (process, WIDE):
        times = torch.cat([kind.t_of_noise_level(levels), torch.zeros(1, dtype=torch.float64)])
        begin = float(kind.alpha(times[0])) * float(levels[0]) * x
        ends.append(run(EVODiff(), BoundDenoiser(mixture(kind)), begin, times)[0])
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("process", PROCESSES, ids=name)
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 12, 30])
@pytest.mark.parametrize("final", [True, False])
def test_it_runs_on_its_default_grid_with_one_evaluation_a_step(steps, process, final):
    sampler = EVODiff(lower_order_final=final)
    assert default_grid(process, sampler) is log_snr
    drawn = sample(mixture(process), seeds=0, n=4, sampler=sampler, steps=steps, record=True, **QUIET)
    assert (drawn.calls, drawn.rows_per_sample) == (steps, steps)
    torch.testing.assert_close(drawn.x, drawn.trajectory.x0[-1], rtol=0, atol=1e-9)


def test_the_batch_changes_no_sample():
    model, cond = small(), Condition.vector(normal(9, seed=8, dtype=torch.float32))
    settings = {"sampler": EVODiff(), "steps": 7, "cond": cond, "seeds": 3, "n": 9, "progress": False}
    whole = sample(model, **settings).x
    torch.testing.assert_close(sample(model, batch_size=1, **settings).x, whole, rtol=1e-4, atol=1e-5)


def test_particles_and_outside_changes():
    denoise, times, rows = BoundDenoiser(mixture(WIDE)), log_snr(WIDE, 9), torch.tensor([3, 0, 0])
    x = 20 * normal(4, 2)
    middle, state = run(EVODiff(), denoise, x, times[:5], EVODiff().init(x, times))
    whole, _ = run(EVODiff(), denoise, middle, times[4:], state)
    picked, _ = run(EVODiff(), denoise, middle[rows], times[4:], index_state(state, rows))
    torch.testing.assert_close(picked, whole[rows], rtol=1e-12, atol=1e-12)
    fresh, _ = EVODiff().step(denoise, middle, times[4], times[5], moved(state))
    assert (fresh - EVODiff().step(denoise, middle, times[4], times[5], state)[0]).abs().max() > 1e-9
    # A jump: the history belongs to steps of another length.
    jumped, _ = EVODiff().step(denoise, middle, times[4], times[7], moved(state))
    torch.testing.assert_close(jumped, DDIM().step(denoise, middle, times[4], times[7], ())[0])


@pytest.mark.parametrize("grid", [uniform, edm], ids=["uniform", "edm"])
def test_a_grid_that_is_not_even_in_log_snr_is_refused_with_the_reason(grid):
    with pytest.raises(ValueError, match="even in log-SNR: .*does not converge"):
        sample(mixture(VPLinear()), seeds=0, n=1, sampler=EVODiff(), steps=8, grid=grid, **QUIET)


def test_other_grids_that_mean_nothing_are_refused():
    times = even_log_snr(RectifiedFlow(), 8, -4.0, 1.0)
    with pytest.raises(ValueError, match="must be small; end the grid at less noise"):
        run(EVODiff(), BoundDenoiser(mixture(RectifiedFlow())), normal(2, 2), times)
    run(EVODiff(lower_order_final=False), BoundDenoiser(mixture(RectifiedFlow())), normal(2, 2), times)
    with pytest.raises(ValueError, match="the times rise"):
        run(EVODiff(), BoundDenoiser(mixture(RectifiedFlow())), normal(2, 2), times.flip(0))
    ends = torch.tensor([1.0, 0.9, 0.6, 0.5, 0.0], dtype=torch.float64)
    with pytest.raises(ValueError, match="even in log-SNR"):
        run(EVODiff(), BoundDenoiser(mixture(RectifiedFlow())), normal(2, 2), ends)


def test_predictions_that_do_not_change_are_no_division_by_zero():
    still = FunctionDenoiser(lambda x, t, cond: torch.zeros_like(x), WIDE, shape=(3,))
    drawn = sample(still, seeds=0, n=2, sampler=EVODiff(), steps=9, **QUIET)
    assert torch.equal(drawn.x, torch.zeros(2, 3, dtype=torch.float64))


@pytest.mark.parametrize("process", PROCESSES, ids=name)
def test_the_asymptotic_order_is_one_as_documented(process):
    def error(steps):
        model, times = gaussian(process), even_log_snr(process, steps)
        x = process.alpha(times[0]) * 0.3 + process.sigma(times[0]) * normal(5, 3)
        end, _ = run(EVODiff(lower_order_final=False), BoundDenoiser(model), x, times)
        return float((end - model.flow(x, times[0], times[-1])).norm())

    steps = (96, 144, 216, 324)
    assert 0.8 < slope(steps, [error(n) for n in steps]) < 1.6


def test_the_bars_of_few_step_sampling_on_the_digits():
    """Bars that hold: 2M, 3M and UniPC below half of DDIM at 12 calls. EVODiff's, 30 % below 2M, does not.

    The root mean square over all samples is made by the few that end in another component than the truth, so
    that it goes one way or the other with the seeds (0.7 to 1.3 of 2M's over 192 of them); on the median
    sample EVODiff has one and a half times 2M's error.
    """
    model = digit_mixture()
    settings = {"seeds": 100, "n": 192, "grid": log_snr, "progress": False, "dtype": torch.float64}
    truth = sample(model, sampler=Heun(), steps=121, **settings)
    assert truth.rows_per_sample == 241

    def errors(sampler, calls):
        drawn = sample(model, sampler=sampler, steps=calls, **settings)
        assert drawn.rows_per_sample == calls
        square = (drawn.x - truth.x).square().flatten(1).mean(1)
        return float(square.mean().sqrt()), float(square.sqrt().median())

    ddim, second, own = errors(DDIM(), 12), errors(DPMSolverPP(order=2), 12), errors(EVODiff(), 12)
    assert second[0] < 0.5 * ddim[0] and second[1] < 0.5 * ddim[1]
    assert errors(DPMSolverPP(order=3), 12)[0] < 0.5 * ddim[0]
    assert errors(UniPC(order=3, variant="bh1"), 12)[0] < 0.5 * ddim[0]
    assert own[0] < 0.5 * ddim[0] and own[1] < 0.5 * ddim[1]
    assert 1.2 * second[1] < own[1] < 2 * second[1]


def test_it_loses_to_2m_with_a_denoiser_that_errs():
    """With a small trained network EVODiff loses to 2M. Here the exact prediction is disturbed instead.

    The disturbance is a smooth function of the state, at most 1 / 2, so that the flow has a fine solution to
    compare with.
    """
    exact, mix = digit_mixture(), normal(64, 64, seed=5) / 8

    def disturbed(x, t, cond):
        sigma = exact.process.sigma(t)
        scale = 1 / torch.sqrt(sigma**2 + 0.25)
        waves = torch.sin(3 * (expand(scale, x) * x).flatten(1) @ mix.T).reshape(x.shape)
        return exact(x, t) + expand(0.5 * sigma * scale, x) * waves

    model = FunctionDenoiser(disturbed, exact.process, shape=(1, 8, 8))
    settings = {"seeds": 100, "n": 48, "grid": log_snr, "progress": False, "dtype": torch.float64}
    truth = sample(model, sampler=Heun(), steps=121, **settings).x

    def error(sampler, calls):
        drawn = sample(model, sampler=sampler, steps=calls, **settings).x
        return float((drawn - truth).square().mean().sqrt())

    for calls in (12, 16):
        ours, theirs = error(EVODiff(), calls), error(DPMSolverPP(order=2), calls)
        assert ours > 1.2 * theirs, (calls, ours, theirs)


def test_it_starts_where_nothing_of_the_data_is_left():
    """At t = 1 of the rectified flow alpha is 0: a first-order step leads to the grid, as for the others."""
    model = GaussianDenoiser([1.0, -0.5], [0.04, 0.25], RectifiedFlow())
    start = start_from(RectifiedFlow(), torch.zeros(64, 2, dtype=torch.float64), 1.0, seeds=0)
    drawn = sample(model, seeds=0, sampler=EVODiff(), steps=40, start=start, **QUIET)
    exact = model.flow(start[0], 1.0, 0.0)
    assert float(drawn.times[0]) == 1 and (drawn.x - exact).square().mean().sqrt() < 0.03
