"""Equality with diffusers' schedulers, on the same model, times, start and noise."""

import pytest
import torch

from tests.samplers.cases import mixture, normal
from windvane.convert import eps_from_x0
from windvane.process import VPTable
from windvane.samplers import DDIM, DDPM, BoundDenoiser, DPMSolverPP, UniPC

SETTINGS = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def in_double(scheduler):
    """The scheduler with tables in float64, where it keeps float32."""
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    if hasattr(scheduler, "alphas"):
        scheduler.alphas = scheduler.alphas_cumprod / torch.cat(
            [torch.ones(1, dtype=torch.float64), scheduler.alphas_cumprod[:-1]]
        )
    return scheduler


def with_exact_sigmas(scheduler, times, process):
    """The scheduler's own grid of noise levels, which it rounds to float32, unrounded."""
    torch.testing.assert_close(scheduler.sigmas.double(), process.noise_level(times), rtol=2e-6, atol=1e-7)
    scheduler.sigmas = process.noise_level(times)


def setting(scheduler, steps, last=0.0):
    """The exact model on the scheduler's table, and its grid, ending at ``last``, as our times."""
    process = VPTable(scheduler.alphas_cumprod.tolist())
    scheduler.set_timesteps(steps)
    times = torch.cat([(scheduler.timesteps.double() + 1) / 1000, torch.tensor([last], dtype=torch.float64)])
    return BoundDenoiser(mixture(process)), times


def theirs(scheduler, denoise, x, times, step=None):
    for k, index in enumerate(scheduler.timesteps):
        eps = eps_from_x0(denoise.process, x, denoise(x, times[k]), times[k])
        x = scheduler.step(eps, index, x, **({} if step is None else step(k))).prev_sample
    return x


def ours(sampler, denoise, x, times, noises=None):
    state = sampler.init(x, times)
    for k in range(len(times) - 1):
        noise = None if noises is None else noises[k]
        x, state = sampler.step(denoise, x, times[k], times[k + 1], state, noise)
    return x


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim(eta, spacing):
    from diffusers import DDIMScheduler

    scheduler = in_double(DDIMScheduler(**SETTINGS, clip_sample=False, timestep_spacing=spacing))
    denoise, times = setting(scheduler, 20)
    x, noises = normal(6, 2), [normal(6, 2, seed=k + 1) for k in range(20)]
    other = theirs(scheduler, denoise, x, times, lambda k: {"eta": eta, "variance_noise": noises[k]})
    # Theirs adds noise in the last step too, where the variance at alpha = 1 is zero.
    torch.testing.assert_close(ours(DDIM(eta=eta), denoise, x, times, noises), other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_ddpm(variance):
    from diffusers import DDPMScheduler

    scheduler = in_double(DDPMScheduler(**SETTINGS, clip_sample=False, variance_type=f"fixed_{variance}"))
    scheduler.one = torch.tensor(1.0, dtype=torch.float64)
    denoise, times = setting(scheduler, 50)
    x, drawn, again = normal(6, 2), torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    other = theirs(scheduler, denoise, x, times, lambda k: {"generator": drawn})
    noises = [torch.randn(6, 2, generator=again, dtype=torch.float64) for _ in range(50)]
    torch.testing.assert_close(
        ours(DDPM(variance=variance), denoise, x, times, noises), other, rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 14])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("to_zero", [True, False])
def test_dpm_solver_multistep(order, steps, to_zero):
    """They count the step to zero as one of the last; where it is taken, no order is lowered before it."""
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(
        **SETTINGS,
        solver_order=order,
        solver_type="midpoint",
        final_sigmas_type="zero" if to_zero else "sigma_min",
        lower_order_final=not to_zero,
    )
    scheduler = in_double(scheduler)
    denoise, times = setting(scheduler, steps, 0.0 if to_zero else 1 / 1000)
    with_exact_sigmas(scheduler, times, denoise.process)
    x = normal(6, 2)
    solver = DPMSolverPP(order=order, as_released=True, lower_order_final=not to_zero)
    got = ours(solver, denoise, x, times)
    # Their step rounds the state to float32.
    torch.testing.assert_close(got, theirs(scheduler, denoise, x, times).double(), rtol=0, atol=2e-5)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("corrector", [True, False])
def test_unipc(order, variant, steps, corrector):
    from diffusers import UniPCMultistepScheduler

    # Their "bh1" makes NaN in a step to sigma = 0 (B is infinite there), so it ends at the first index. So
    # does order 3: they count the step to zero as one of those that the order falls on.
    to_zero = variant == "bh2" and order < 3
    scheduler = UniPCMultistepScheduler(
        **SETTINGS,
        solver_order=order,
        solver_type=variant,
        final_sigmas_type="zero" if to_zero else "sigma_min",
        lower_order_final=True,
        disable_corrector=[] if corrector else list(range(1000)),
    )
    scheduler = in_double(scheduler)
    denoise, times = setting(scheduler, steps, 0.0 if to_zero else 1 / 1000)
    with_exact_sigmas(scheduler, times, denoise.process)
    x = normal(6, 2)
    solver = UniPC(order=order, variant=variant, corrector=corrector, lower_order_final=not to_zero)
    got = ours(solver, denoise, x, times)
    torch.testing.assert_close(got, theirs(scheduler, denoise, x, times), rtol=0, atol=1e-6)
