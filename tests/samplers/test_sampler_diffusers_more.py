"""Equality with diffusers' Euler, Heun and single-step schedulers, where they coincide with ours."""

import pytest
import torch

from tests.samplers.cases import mixture, normal
from tests.samplers.test_sampler_diffusers import SETTINGS
from windvane.convert import eps_from_x0
from windvane.process import EDM, VPLinear
from windvane.samplers import BoundDenoiser, DPMSolverSinglestep, Euler, Heun

SIGMA_MAX, SIGMA_MIN = 20.0, 0.02


def levels(steps):
    """EDM's grid of noise levels and the final zero, float64."""
    high, low = SIGMA_MAX ** (1 / 7), SIGMA_MIN ** (1 / 7)
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    return torch.cat([(high + ramp * (low - high)) ** 7, torch.zeros(1, dtype=torch.float64)])


def ours(sampler, sigmas, x):
    denoise = BoundDenoiser(mixture(EDM(SIGMA_MAX, SIGMA_MIN)))
    times = sigmas / SIGMA_MAX
    state = sampler.init(x, times)
    for t, s in zip(times[:-1], times[1:]):
        x, state = sampler.step(denoise, x, t, s, state)
    return x


def eps_at(x, sigma):
    """The model's noise prediction at a level, as their schedulers want it."""
    model = mixture(EDM(SIGMA_MAX, SIGMA_MIN))
    t = sigma / SIGMA_MAX
    return eps_from_x0(model.process, x, model(x, t), t)


@pytest.mark.parametrize("steps", [2, 5, 18])
def test_euler(steps):
    from diffusers import EulerDiscreteScheduler

    scheduler = EulerDiscreteScheduler(**SETTINGS)
    scheduler.set_timesteps(steps)
    scheduler.sigmas = levels(steps)
    x = start = SIGMA_MAX * normal(5, 2)
    for k, index in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(x, index)
        x = scheduler.step(eps_at(x, scheduler.sigmas[k]), index, x).prev_sample.double()
    torch.testing.assert_close(ours(Euler(), levels(steps), start), x, rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("steps", [2, 5, 12])
def test_heun(steps):
    from diffusers import HeunDiscreteScheduler

    scheduler = HeunDiscreteScheduler(**SETTINGS)
    scheduler.set_timesteps(steps)
    doubled = levels(steps)
    # Their list of levels holds every inner one twice: once to end a step, once to begin the next.
    scheduler.sigmas = torch.cat([doubled[:1], doubled[1:-1].repeat_interleave(2), doubled[-1:]])
    assert len(scheduler.timesteps) == 2 * steps - 1
    x = start = SIGMA_MAX * normal(5, 2)
    for index in scheduler.timesteps:
        scheduler.scale_model_input(x, index)
        sigma = scheduler.sigmas[scheduler.step_index]
        x = scheduler.step(eps_at(x, sigma), index, x).prev_sample.double()
    torch.testing.assert_close(ours(Heun(), levels(steps), start), x, rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("order", [2, 3])
def test_a_singlestep_step_is_theirs(order):
    """One step through equal sub-steps, which are their steps; it is for variance preserving processes.

    Their third order makes its inner step like ours under one setting of ``solver_type``, and its outer one
    under the other.
    """
    from diffusers import DPMSolverSinglestepScheduler

    scheduler = DPMSolverSinglestepScheduler(
        **SETTINGS, solver_order=order, final_sigmas_type="sigma_min", lower_order_final=False
    )
    scheduler.set_timesteps(order)
    process = VPLinear()
    model, x = mixture(process), normal(5, 2)
    levels_here = torch.tensor([2.0 * 0.3 ** (k / order) for k in range(order + 1)], dtype=torch.float64)
    times = process.t_of_noise_level(levels_here)
    scheduler.sigmas = levels_here
    got, _ = DPMSolverSinglestep(order=order).step(BoundDenoiser(model), x, times[0], times[-1], 0)
    for k, index in enumerate(scheduler.timesteps):
        scheduler.register_to_config(solver_type="midpoint" if k == order - 1 else "heun")
        eps = eps_from_x0(process, x, model(x, times[k]), times[k])
        x = scheduler.step(eps, index, x).prev_sample.double()
    torch.testing.assert_close(got, x, rtol=2e-6, atol=2e-6)
