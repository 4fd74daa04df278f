"""Every sampler on every process draws from the exact mixture; every parametrisation agrees."""

import functools

import pytest
import torch
from torch import nn

from tests.samplers.cases import PROCESSES, SAMPLERS, mixture, name, normal, run
from windvane.convert import prediction_from_x0
from windvane.denoiser import NetworkDenoiser
from windvane.grids import log_snr
from windvane.process import expand
from windvane.samplers import DDIM, DDPM, BoundDenoiser, DPMSolverPP, Euler, Heun, UniPC, default_grid, sample

ROWS = 2000


@functools.cache
def exact_draw(process):
    return mixture(process).draw(10_000, 10**6)


def components(model, x):
    return torch.cdist(x.double(), model.means).argmin(dim=1)


def features(model, x):
    """What the marginals are compared by: x, its products, and membership of each component."""
    first, second = x.double().unbind(dim=1)
    members = nn.functional.one_hot(components(model, x), 3).double()
    return torch.cat([torch.stack([first, second, first**2, second**2, first * second], 1), members], 1)


def distance(model, x, y):
    """The largest difference of a mean feature, in standard errors of the difference."""
    a, b = features(model, x), features(model, y)
    spread = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
    return float(((a.mean(0) - b.mean(0)).abs() / spread).max())


def steps_for(sampler):
    """Enough that the error of the step is below that of the sample."""
    if sampler.stochastic and not isinstance(sampler, Heun):
        return 250
    return 200 if getattr(sampler, "order", 1) == 1 and not isinstance(sampler, (Heun, UniPC)) else 50


@pytest.mark.parametrize("process", PROCESSES, ids=name)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=name)
def test_samples_follow_the_exact_mixture(sampler, process):
    model = mixture(process)
    times = default_grid(process, sampler)(process, steps_for(sampler))
    # By hand and with one generator: a seed for each of so many rows and steps would take a minute.
    noises = [normal(ROWS, 2, seed=k + 1, dtype=torch.float32) for k in range(len(times) - 1)]
    x = process.prior(normal(ROWS, 2, dtype=torch.float32), times[0])
    drawn, _ = run(sampler, BoundDenoiser(model), x, times, noises=noises)
    # Eight features and 56 cases: 4.5 standard errors are passed by chance once in 300 runs of the whole.
    assert distance(model, drawn, exact_draw(process)) < 4.5


def test_a_wrong_law_is_told_apart():
    model = mixture(PROCESSES[0])
    truth = exact_draw(PROCESSES[0])
    assert distance(model, model.draw(ROWS, 0) * 1.06, truth) > 4.5
    assert distance(model, model.draw(ROWS, 0) + 0.12, truth) > 4.5
    coarse = sample(model, seeds=0, n=ROWS, sampler=DDPM(), steps=12, progress=False)
    assert distance(model, coarse.x, truth) > 4.5


class Oracle(nn.Module):
    """A network that predicts, in the named parametrisation, what an exact denoiser knows.

    Networks are given float32 times; it looks the time up in the grid, so that it is exact.
    """

    def __init__(self, exact, kind, times, sigma_data):
        super().__init__()
        self.exact, self.kind, self.times, self.sigma_data = exact, kind, times, sigma_data

    def forward(self, x_in, time, cond):
        t = self.times[(1000 * self.times - time[0].double()).abs().argmin()].expand(len(x_in))
        process = self.exact.process
        alpha, sigma = process.alpha(t), process.sigma(t)
        if self.kind != "edm":
            x_t = x_in * expand(torch.sqrt(alpha**2 + sigma**2).clamp(min=1), x_in)
            return prediction_from_x0(process, self.kind, x_t, self.exact(x_t, t), t)
        norm = expand(torch.sqrt((alpha * self.sigma_data) ** 2 + sigma**2), x_in)
        x_t = x_in * norm
        skip, out = (
            expand(alpha * self.sigma_data**2, x_in) / norm**2,
            expand(sigma * self.sigma_data, x_in) / norm,
        )
        return (self.exact(x_t, t) - skip * x_t) / out


@pytest.mark.parametrize("process", PROCESSES, ids=name)
@pytest.mark.parametrize(
    "sampler", [DDIM(), DDPM(), Euler(), Heun(), DPMSolverPP(order=3), UniPC()], ids=name
)
def test_all_parametrisations_give_one_answer(sampler, process):
    exact, times = mixture(process), log_snr(process, 12)
    settings = {
        "seeds": 3,
        "n": 6,
        "sampler": sampler,
        "grid": times,
        "dtype": torch.float64,
        "progress": False,
    }
    answer = sample(exact, **settings).x
    for kind in ("eps", "x0", "v", "flow", "edm"):
        network = Oracle(exact, kind, times, 0.7)
        denoiser = NetworkDenoiser(
            network, process, parametrisation=kind, shape=(2,), sigma_data=0.7, time="index"
        )
        torch.testing.assert_close(sample(denoiser, **settings).x, answer, rtol=0, atol=1e-9)
