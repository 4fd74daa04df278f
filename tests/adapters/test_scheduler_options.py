"""Every option of every scheduler taken: its steps are those of diffusers' own loop, or it is refused.

A new option of diffusers, or a new scheduler among those taken, fails here until it is decided.
"""

import inspect
import sys
import warnings

import diffusers
import pytest
import torch

import windvane as wv
from tests.adapters import tiny_pipelines as tiny
from windvane.adapters import DiffusersScheduler, from_pipeline
from windvane.adapters.scheduler import MARKOV, _generator
from windvane.randomness import STREAM_PRIOR, noise_for

BETAS = [0.0001 * 1.05**k for k in range(100)]
#: Values other than the default, of every option; a tuple sets what it needs beside it.
VALUES = {
    "num_train_timesteps": [500],
    "beta_start": [0.001],
    "beta_end": [0.01],
    "beta_schedule": ["scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"],
    "trained_betas": [{"trained_betas": BETAS, "num_train_timesteps": 100}],
    "clip_sample": [True, False],
    "clip_sample_range": [{"clip_sample": True, "clip_sample_range": 0.5}],
    "set_alpha_to_one": [False],
    "steps_offset": [{"steps_offset": 1, "timestep_spacing": "leading"}],
    "prediction_type": ["v_prediction", "sample"],
    "thresholding": [{"thresholding": True, "clip_sample": False}, {"thresholding": True}],
    "dynamic_thresholding_ratio": [{"thresholding": True, "dynamic_thresholding_ratio": 0.8}],
    "sample_max_value": [{"thresholding": True, "sample_max_value": 1.5}],
    "timestep_spacing": ["leading", "trailing", "linspace"],
    "rescale_betas_zero_snr": [
        True,
        {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"},
        {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "clip_sample": True},
        {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "clip_sample": False},
        {"rescale_betas_zero_snr": True, "timestep_spacing": "linspace", "thresholding": True},
    ],
    "variance_type": [
        "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range",
    ],
    "interpolation_type": ["log_linear"],
    "use_karras_sigmas": [True],
    "use_exponential_sigmas": [True],
    "use_beta_sigmas": [True],
    "sigma_min": [{"use_karras_sigmas": True, "sigma_min": 0.05}, 0.05],
    "sigma_max": [{"use_karras_sigmas": True, "sigma_max": 10.0}, 10.0],
    "timestep_type": [
        "continuous",
        {"timestep_type": "continuous", "prediction_type": "v_prediction"},
        {
            "timestep_type": "continuous", "prediction_type": "v_prediction",
            "interpolation_type": "log_linear", "sigma_min": 0.05, "sigma_max": 10.0,
        },
        {"timestep_type": "continuous", "use_karras_sigmas": True, "sigma_min": 0.05, "sigma_max": 20.0},
    ],
    "final_sigmas_type": ["sigma_min"],
    "shift": [3.0],
    "use_dynamic_shifting": [True],
    "base_shift": [{"use_dynamic_shifting": True, "base_shift": 0.3}],
    "max_shift": [{"use_dynamic_shifting": True, "max_shift": 1.3}],
    "base_image_seq_len": [{"use_dynamic_shifting": True, "base_image_seq_len": 128}],
    "max_image_seq_len": [{"use_dynamic_shifting": True, "max_image_seq_len": 1024}],
    "invert_sigmas": [True],
    "shift_terminal": [0.1],
    "time_shift_type": [{"use_dynamic_shifting": True, "time_shift_type": "linear"}],
    "stochastic_sampling": [True],
}  # fmt: skip


def options(name):
    found = inspect.signature(getattr(diffusers, name).__init__).parameters
    return [option for option in found if option != "self"]


CASES = [
    (name, option, value)
    for name in MARKOV
    for option in options(name)
    for value in VALUES.get(option, ["?"])
]


def settings_of(name, option, value):
    given = value if isinstance(value, dict) else {option: value}
    return {key: v for key, v in given.items() if key in options(name)}


def own_loop(scheduler, network, start, steps, sampler, monkeypatch):
    """The loop of diffusers' pipelines, with the noise that ours is given."""
    scheduler.set_timesteps(steps)
    euler = type(scheduler).__name__.startswith("Euler")
    x = start * ((1 + scheduler.sigmas[0] ** 2) ** 0.5 if euler else 1)
    drawn = []
    if type(scheduler).__name__.startswith("DDPM"):
        module = sys.modules[type(scheduler).__module__]
        monkeypatch.setattr(module, "randn_tensor", lambda shape, **named: drawn.pop())
    with torch.no_grad():
        for k, timestep in enumerate(scheduler.timesteps):
            noise = noise_for([0, 1], STREAM_PRIOR + k + 1, start.shape[1:])
            drawn[:] = [noise]
            seen = scheduler.scale_model_input(x, timestep) if euler else x
            time = timestep.expand(len(x)) if timestep.ndim == 0 else timestep
            output = network(seen, time).sample
            draws = {"generator": [_generator(row) for row in noise]} if sampler.stochastic else {}
            x = scheduler.step(output, timestep, x, **draws).prev_sample
    monkeypatch.undo()
    return x


@pytest.mark.parametrize(("name", "option", "value"), CASES, ids=lambda v: str(v)[:60])
def test_every_option_is_honoured_or_refused_by_name(name, option, value, monkeypatch):
    assert option in VALUES, f"{name} has a new option {option}: honour it or refuse it, and list it here"
    settings = settings_of(name, option, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler = getattr(diffusers, name)(**settings)
    except (NotImplementedError, ValueError):
        pytest.skip("diffusers itself refuses it")
    network = tiny.unet()
    try:
        sampler = DiffusersScheduler(scheduler)
        denoiser = from_pipeline(diffusers.DDPMPipeline(network, scheduler))
        times = sampler.own_grid(denoiser.process, 5)
        start = noise_for([0, 1], 99, (3, 8, 8))
        made = wv.sample(
            denoiser, seeds=0, n=2, start=(start, float(times[0])), steps=5, sampler=sampler, progress=False
        )
    except ValueError as error:
        assert option in str(error), f"refused, but not by name: {error}"
        return
    theirs = own_loop(scheduler, network, start, 5, sampler, monkeypatch)
    torch.testing.assert_close(made.x, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))


@pytest.mark.parametrize(
    ("name", "settings", "steps", "named"),
    [
        (
            "DDIMScheduler",
            {"timestep_spacing": "trailing", "num_train_timesteps": 300},
            7,
            "timestep_spacing='trailing'",
        ),
        ("EulerDiscreteScheduler", {"use_karras_sigmas": True, "sigma_max": 3000.0}, 5, "sigma_max=3000.0"),
    ],
)
def test_times_that_stand_still_or_turn_back_name_their_options(name, settings, steps, named):
    """diffusers itself visits index -1 there, or one index twice."""
    sampler = DiffusersScheduler(getattr(diffusers, name)(**settings))
    with pytest.raises(
        ValueError, match=f"visits no falling times in {steps} steps with .*{named}"
    ) as caught:
        sampler.own_grid(from_pipeline(diffusers.DDPMPipeline(tiny.unet(), sampler.scheduler)).process, steps)
    assert "\n" not in str(caught.value) and repr(sampler) == f"DiffusersScheduler({name})"


def test_a_network_with_continuous_times_is_given_them_by_every_sampler():
    """diffusers feeds ln(sigma) / 4 there; the index of a table would be a number it has never seen."""
    scheduler = diffusers.EulerDiscreteScheduler(timestep_type="continuous", prediction_type="v_prediction")
    denoiser = from_pipeline(diffusers.DDPMPipeline(tiny.unet(), scheduler))
    seen = []
    denoiser.network.register_forward_pre_hook(lambda module, args: seen.append(float(args[1][0])))
    made = wv.sample(denoiser, seeds=0, n=1, sampler=wv.DPMSolverPP(), steps=6, progress=False)
    levels = denoiser.process.noise_level(made.times[:-1])
    torch.testing.assert_close(torch.tensor(seen), (0.25 * levels.log()).float())


def test_times_that_run_from_noise_to_data_are_refused_in_pipelines_too():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True)
    with pytest.raises(ValueError, match="invert_sigmas=True"):
        from_pipeline(diffusers.DDPMPipeline(tiny.unet(), scheduler))
