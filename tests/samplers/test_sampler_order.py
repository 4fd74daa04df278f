"""Measured convergence orders on Gaussians, whose probability flow is known."""

import math

import pytest
import torch

import windvane as wv
from tests.samplers.cases import PROCESSES, even_log_snr, gaussian, name, normal, run
from windvane.process import VPLinear, VPTable
from windvane.samplers import BoundDenoiser, History

#: A schedule in 50 pieces, as a foreign model might have it.
TABLE = VPTable((VPLinear().alpha(torch.linspace(0, 1, 51, dtype=torch.float64)[1:]) ** 2).tolist())
# With lower_order_final the last step is first order: right before sigma = 0, wrong for measuring.
FULL = {"lower_order_final": False}
ORDERS = [
    (wv.DDIM(), 1),
    (wv.Euler(), 1),
    (wv.Heun(), 2),
    (wv.DPMSolverPP(order=1, **FULL), 1),
    (wv.DPMSolverPP(order=2, **FULL), 2),
    (wv.DPMSolverPP(order=3, **FULL), 3),
    (wv.DPMSolverPP(order=3, as_released=True, **FULL), 2),
    (wv.DPMSolverSinglestep(order=2), 2),
    (wv.DPMSolverSinglestep(order=3), 3),
    (wv.UniPC(order=1, **FULL), 2),
    (wv.UniPC(order=2, **FULL), 3),
    (wv.UniPC(order=2, variant="bh1", **FULL), 3),
    (wv.UniPC(order=3, **FULL), 4),
    (wv.UniPC(order=3, variant="bh1", **FULL), 4),
    (wv.UniPC(order=2, corrector=False, **FULL), 2),
    (wv.UniPC(order=3, corrector=False, **FULL), 3),
]


def slope(steps, errors):
    """The order: minus the slope of log error against log steps."""
    x = torch.tensor([math.log(n) for n in steps])
    y = torch.tensor([math.log(e) for e in errors])
    return float(-((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


def exact_history(sampler, model, x, times):
    """The state a multistep solver would have had it come to ``x`` along the exact flow.

    Its own first steps are of lower order, and their error would hide the order of the rest.
    """
    state, process = sampler.init(x, times), model.process
    lmbda = process.log_snr(times[:2])
    for k in range(getattr(sampler, "order", 1) - 1 if isinstance(state, History) else 0, 0, -1):
        before = lmbda[0] - k * (lmbda[1] - lmbda[0])
        t = process.t_of_log_snr(before)
        x0 = BoundDenoiser(model)(model.flow(x, times[0], t), t)
        state = state.push(float(before) / 2, x0, keep=sampler.order)
    return state


def error(sampler, process, steps, warm=True):
    model, times = gaussian(process), even_log_snr(process, steps)
    x = process.alpha(times[0]) * 0.3 + process.sigma(times[0]) * normal(5, 3)
    state = exact_history(sampler, model, x, times) if warm else None
    end, _ = run(sampler, BoundDenoiser(model), x, times, state)
    return float((end - model.flow(x, times[0], times[-1])).norm())


@pytest.mark.parametrize("process", [*PROCESSES, TABLE], ids=lambda process: process.kind)
@pytest.mark.parametrize(
    ("sampler", "order"), ORDERS, ids=lambda case: name(case) if case not in range(9) else ""
)
def test_the_measured_order_is_the_theoretical_one(sampler, order, process):
    steps = (48, 72, 108)
    assert slope(steps, [error(sampler, process, n) for n in steps]) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize(
    ("sampler", "order"),
    [(wv.DPMSolverPP(order=3, **FULL), 2), (wv.UniPC(order=3, corrector=False, **FULL), 2)],
    ids=str,
)
def test_from_a_cold_start_the_first_step_limits_the_order(sampler, order):
    steps = (144, 216, 324)
    cold = [error(sampler, PROCESSES[0], n, warm=False) for n in steps]
    assert slope(steps, cold) == pytest.approx(order, abs=0.15)


def variance_error(sampler, process, steps):
    """Weak error of a stochastic sampler: on a Gaussian each transition is affine, so the variance of
    x can be carried along exactly, with no sample drawn."""
    model, times = gaussian(process), even_log_snr(process, steps)
    spread = model.variances[0]
    variance = process.alpha(times[0]) ** 2 * spread + process.sigma(times[0]) ** 2
    probe = torch.stack([torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)])
    for t, s in zip(times[:-1], times[1:]):
        mean, std, _ = sampler.transition(BoundDenoiser(model), probe, t, s, ())
        variance = (mean[1] - mean[0]) ** 2 * variance + std**2
    exact = process.alpha(times[-1]) ** 2 * spread + process.sigma(times[-1]) ** 2
    return float((variance - exact).norm())


@pytest.mark.parametrize("process", PROCESSES, ids=name)
@pytest.mark.parametrize(
    "sampler", [wv.DDIM(eta=0.5), wv.DDIM(eta=1.0), wv.DDPM(), wv.DDPM(variance="large")], ids=name
)
def test_stochastic_samplers_converge_weakly_with_order_one(sampler, process):
    steps = (80, 120, 180)
    assert slope(steps, [variance_error(sampler, process, n) for n in steps]) == pytest.approx(1, abs=0.15)


def test_few_steps_gain_from_a_higher_order():
    process = PROCESSES[0]
    errors = {name(s): error(s, process, 12, warm=False) for s in (wv.DDIM(), wv.DPMSolverPP(), wv.UniPC())}
    base = errors.pop("DDIM()")
    assert all(e < base / 5 for e in errors.values()), (base, errors)
