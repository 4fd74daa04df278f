"""Single steps against written-out formulas, and the equivalences that docstrings state."""

import dataclasses
import math
from typing import ClassVar

import pytest
import torch

import windvane as wv
from tests.samplers.cases import (
    DETERMINISTIC,
    PROCESSES,
    SAMPLERS,
    even_log_snr,
    gaussian,
    mixture,
    name,
    normal,
    run,
)
from windvane.denoiser import FunctionDenoiser
from windvane.evaluations import count_evaluations
from windvane.grids import edm, log_snr, uniform
from windvane.process import EDM, RectifiedFlow, VPLinear
from windvane.samplers import BoundDenoiser, sample


def time(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("process", PROCESSES, ids=name)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (wv.Euler(), wv.DDIM()),
        (wv.DPMSolverPP(order=1), wv.DDIM()),
        (wv.UniPC(order=1, corrector=False), wv.DDIM()),
        (wv.UniPC(order=2, corrector=False), wv.DPMSolverPP(order=2)),
        (wv.UniPC(order=3, corrector=False), wv.DPMSolverPP(order=3)),
        (wv.DDPM(), wv.DDIM(eta=1.0)),
        (wv.Heun(churn=5.0, s_min=1e9), wv.Heun()),
    ],
    ids=name,
)
def test_documented_equivalences_hold_to_machine_precision(one, other, process):
    model, times = mixture(process), uniform(process, 9)
    settings = {"seeds": 0, "n": 8, "grid": times, "dtype": torch.float64, "progress": False}
    first = sample(model, sampler=one, **settings)
    torch.testing.assert_close(first.x, sample(model, sampler=other, **settings).x, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("process", PROCESSES, ids=name)
@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("t", [0.4, [0.3, 0.95, 0.6]], ids=["one time", "a time per row"])
def test_a_transition_is_the_posterior_of_the_forward_process(process, variance, t):
    t = time(t)
    s, x_t, x0 = t * 0.7, normal(3, 2), normal(3, 2, seed=1)
    denoise = BoundDenoiser(FunctionDenoiser(lambda x, t, cond: x0, process))
    mean, std, _ = wv.DDPM(variance=variance).transition(denoise, x_t, t, s, ())
    # Bayes: N(x_s; alpha_s x0, sigma_s^2) times N(x_t; ratio x_s, step), normalised.
    alpha, sigma, ratio = process.alpha(s), process.sigma(s), process.alpha(t) / process.alpha(s)
    step = process.sigma(t) ** 2 - ratio**2 * sigma**2
    variance_s = 1 / (1 / sigma**2 + ratio**2 / step)
    column = lambda value: value[..., None] if value.ndim else value  # noqa: E731
    exact = column(variance_s * alpha / sigma**2) * x0 + column(variance_s * ratio / step) * x_t
    torch.testing.assert_close(mean, exact)
    expected = (variance_s if variance == "small" else step).sqrt()
    torch.testing.assert_close(std, column(expected))


@pytest.mark.parametrize(
    "sampler", [wv.DDIM(), wv.DDIM(eta=0.3), wv.DDPM(), wv.DDPM(variance="large"), wv.Euler()], ids=name
)
@pytest.mark.parametrize("process", PROCESSES, ids=name)
def test_a_time_per_row_equals_each_row_alone(sampler, process):
    denoise, x, noise = BoundDenoiser(mixture(process)), normal(4, 2), normal(4, 2, seed=1)
    t, s = time([0.2, 0.9, 0.5, 0.3]), time([0.1, 0.4, 0.0, 0.2])
    together, _ = sampler.step(denoise, x, t, s, (), noise)
    for row in range(4):
        rows = slice(row, row + 1)
        alone, _ = sampler.step(denoise, x[rows], t[row], s[row], (), noise[rows])
        torch.testing.assert_close(together[rows], alone)


def test_the_step_is_the_mean_plus_the_noise_times_the_deviation():
    denoise, x, noise = BoundDenoiser(mixture(VPLinear())), normal(4, 2), normal(4, 2, seed=1)
    for sampler in (wv.DDIM(eta=0.4), wv.DDPM(), wv.DDPM(variance="large")):
        mean, std, _ = sampler.transition(denoise, x, time(0.5), time(0.4), ())
        moved, _ = sampler.step(denoise, x, time(0.5), time(0.4), (), noise)
        assert torch.equal(moved, mean + std * noise) and float(std) > 0


def test_a_transition_is_differentiable():
    x = normal(4, 2).requires_grad_(True)
    mean, std, _ = wv.DDPM().transition(BoundDenoiser(mixture(VPLinear())), x, time(0.5), time(0.4), ())
    log_density = -(((normal(4, 2, seed=1) - mean) / std) ** 2).sum() / 2
    (gradient,) = torch.autograd.grad(log_density, x)
    assert torch.isfinite(gradient).all() and (gradient != 0).all()


@pytest.mark.parametrize("churn", [0.0, 3.0, 100.0])
def test_heun_is_edms_algorithm(churn):
    process = EDM()
    model, times = mixture(process), edm(process, 8)
    sampler = wv.Heun(churn=churn, s_min=0.05, s_max=50.0, s_noise=1.01)
    x = wanted = 80 * normal(5, 2)
    noises = [normal(5, 2, seed=k + 1) for k in range(8)]
    got, _ = run(sampler, BoundDenoiser(model), x, times, noises=noises)
    levels = (80 * times).tolist()
    for k in range(8):
        sigma, target = levels[k], levels[k + 1]
        gamma = min(churn / 8, math.sqrt(2) - 1) if 0.05 <= sigma <= 50 else 0.0
        hat = sigma * (1 + gamma)
        wanted = wanted + math.sqrt(hat**2 - sigma**2) * 1.01 * noises[k]
        slope = (wanted - model(wanted, time(hat / 80))) / hat
        end = wanted + (target - hat) * slope
        if target > 0:
            second = (end - model(end, time(target / 80))) / target
            end = wanted + (target - hat) * (slope + second) / 2
        wanted = end
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_heun_on_the_rectified_flow_is_heun_in_time():
    model, times = mixture(RectifiedFlow()), time([0.9, 0.7, 0.45, 0.2])
    x = wanted = normal(5, 2)
    got, _ = run(wv.Heun(), BoundDenoiser(model), x, times)
    for t, s in zip(times[:-1], times[1:]):
        velocity = (wanted - model(wanted, t)) / t
        end = wanted + (s - t) * velocity
        wanted = wanted + (s - t) * (velocity + (end - model(end, s)) / s) / 2
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("process", PROCESSES, ids=name)
def test_churn_raises_the_noise_by_gamma_and_never_above_time_one(process):
    seen = []

    def spy(x, t, cond):
        seen.append((float(t[0]), x.clone()))
        return torch.zeros_like(x)

    denoise, sampler = BoundDenoiser(FunctionDenoiser(spy, process)), wv.Heun(churn=2.0)
    x, noise, t = normal(3, 2), normal(3, 2, seed=1), time(0.5)
    sampler.step(denoise, x, t, time(0.4), 10, noise)
    raised = time(seen[0][0])
    torch.testing.assert_close(process.noise_level(raised), 1.2 * process.noise_level(t))
    torch.testing.assert_close(seen[0][1], process.renoise(x, t, raised, noise))
    seen.clear()
    sampler.step(denoise, x, time(1.0), time(0.9), 10, noise)
    assert seen[0][0] == 1.0 and torch.equal(seen[0][1], x)


@pytest.mark.parametrize("process", PROCESSES, ids=name)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=name)
def test_one_step_grids_return_the_prediction(sampler, process):
    model = mixture(process)
    drawn = sample(
        model, seeds=0, n=4, sampler=sampler, steps=1, dtype=torch.float64, progress=False, record=True
    )
    begin = drawn.trajectory.x[0]
    torch.testing.assert_close(drawn.x, model(begin, drawn.times[0]), rtol=0, atol=1e-9)
    assert drawn.rows_per_sample == 1


@pytest.mark.parametrize("process", PROCESSES, ids=name)
@pytest.mark.parametrize(
    "sampler", [s for s in SAMPLERS if not (isinstance(s, wv.Heun) and s.churn)], ids=name
)
def test_the_step_to_zero_noise_returns_the_prediction(sampler, process):
    model = mixture(process)
    for grid in (uniform, log_snr, edm):
        drawn = sample(
            model,
            seeds=0,
            n=4,
            sampler=sampler,
            steps=6,
            grid=grid,
            dtype=torch.float64,
            progress=False,
            record=True,
        )
        last = drawn.trajectory.x[-2]
        # Heun's and UniPC's latest prediction is at the last time too: they reach it by one more call.
        wanted = drawn.trajectory.x0[-1]
        torch.testing.assert_close(drawn.x, wanted, rtol=0, atol=1e-9)
        if not (isinstance(sampler, wv.UniPC) and sampler.corrector):
            torch.testing.assert_close(wanted, model(last, drawn.times[-2]), rtol=0, atol=1e-12)


def promised(sampler, process):
    """Evaluations in seven steps, the last to zero noise."""
    if isinstance(sampler, wv.DPMSolverSinglestep):
        # The rectified flow begins at alpha = 0, from where the first step is of first order.
        full = 5 if isinstance(process, RectifiedFlow) else 6
        return full * sampler.order + 7 - full
    return 13 if isinstance(sampler, wv.Heun) else 7


@pytest.mark.parametrize("process", PROCESSES, ids=name)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=name)
def test_evaluations_are_counted_and_as_promised(sampler, process):
    with count_evaluations() as outside:
        drawn = sample(
            mixture(process), seeds=0, n=10, batch_size=4, sampler=sampler, steps=7, progress=False
        )
    wanted = promised(sampler, process)
    assert (drawn.calls, drawn.rows_per_sample) == (3 * wanted, wanted)
    assert (outside.calls, outside.rows) == (3 * wanted, 10 * wanted)


@pytest.mark.parametrize("process", PROCESSES, ids=name)
@pytest.mark.parametrize("sampler", DETERMINISTIC, ids=name)
def test_deterministic_samplers_run_both_ways(sampler, process):
    model, times = gaussian(process), even_log_snr(process, 120)
    x = process.sigma(times[0]) * normal(4, 3)
    down, _ = run(sampler, BoundDenoiser(model), x, times)
    up, _ = run(sampler, BoundDenoiser(model), down, times.flip(0))
    scale = float(process.sigma(times[0]))
    torch.testing.assert_close(up / scale, x / scale, rtol=0, atol=0.03)
    exact = model.flow(down, times[-1], times[0])
    torch.testing.assert_close(up / scale, exact / scale, rtol=0, atol=0.02)


@dataclasses.dataclass(frozen=True)
class HeavyTailed(VPLinear):
    """A process that says its noise is not Gaussian."""

    gaussian: ClassVar[bool] = False


@pytest.mark.parametrize("sampler", [wv.DDPM(), wv.DDIM(eta=0.1), wv.Heun(churn=1.0)], ids=name)
def test_noise_is_only_added_to_gaussian_processes(sampler):
    shrink = FunctionDenoiser(lambda x, t, cond: x / 2, HeavyTailed(), shape=(2,))
    with pytest.raises(ValueError, match="HeavyTailed"):
        sample(shrink, seeds=0, n=2, sampler=sampler, steps=3, progress=False)
    sample(shrink, seeds=0, n=2, sampler=wv.DDIM(), steps=3, progress=False)


@pytest.mark.parametrize("sampler", [wv.DDPM(), wv.DDIM(eta=0.1), wv.Heun(churn=1.0)], ids=name)
def test_a_stochastic_step_without_noise_is_refused(sampler):
    with pytest.raises(ValueError, match="pass standard normal noise"):
        sampler.step(BoundDenoiser(mixture(VPLinear())), normal(2, 2), time(0.5), time(0.4), 3)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: wv.DDIM(eta=1.5), "eta of DDIM .* >= 0 and <= 1, got 1.5"),
        (lambda: wv.DDIM(eta=-0.1), "got -0.1"),
        (lambda: wv.DDPM(variance="middle"), "middle"),
        (lambda: wv.Heun(churn=-1.0), "churn of Heun must be a number >= 0, got -1.0"),
        (lambda: wv.Heun(s_min=2.0, s_max=1.0), "s_max of Heun must be a number >= 2, got 1.0"),
        (lambda: wv.DPMSolverPP(order=4), "got 4"),
        (lambda: wv.UniPC(order=0), "got 0"),
        (lambda: wv.UniPC(variant="bh3"), "bh3"),
    ],
    ids=range(8),
)
def test_wrong_settings_are_refused_with_the_value(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()
