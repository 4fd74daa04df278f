"""Schedulers and guiders of diffusers inside Windvane's loop, against diffusers' own loops."""

import sys

import pytest
import torch

import windvane as wv
from tests.adapters import tiny_pipelines as tiny
from windvane.adapters import DiffusersScheduler, GuidedByDiffusers, from_pipeline
from windvane.adapters.scheduler import _generator
from windvane.conditions import Condition
from windvane.energies import Reward
from windvane.guidance import KickedSampler, presets
from windvane.randomness import STREAM_PRIOR, noise_for
from windvane.samplers import BoundDenoiser

SETTINGS = [
    ("DDIMScheduler", {"clip_sample": False}),
    ("DDIMScheduler", {"clip_sample": True}),
    ("DDIMScheduler", {"timestep_spacing": "trailing", "prediction_type": "v_prediction"}),
    ("DDPMScheduler", {}),
    ("DDPMScheduler", {"timestep_spacing": "trailing", "variance_type": "fixed_large"}),
    ("EulerDiscreteScheduler", {"timestep_spacing": "leading"}),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    ("EulerAncestralDiscreteScheduler", {}),
    ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
    ("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}),
]
NAMES = [f"{name}-{'-'.join(map(str, settings.values()))}" for name, settings in SETTINGS]


def built(name, settings):
    import diffusers

    scheduler = getattr(diffusers, name)(**settings)
    return scheduler, tiny.unet()


def noise(k, seeds=(0, 1)):
    return noise_for(list(seeds), k, (3, 8, 8))


@pytest.mark.parametrize(("name", "settings"), SETTINGS, ids=NAMES)
def test_its_steps_are_those_of_its_own_loop(name, settings, monkeypatch):
    """The loop of every pipeline of diffusers, written out; its draws are the ones that ours makes."""
    from diffusers import DDPMPipeline

    scheduler, network = built(name, settings)
    sampler = DiffusersScheduler(scheduler)
    denoiser = from_pipeline(DDPMPipeline(network, scheduler))
    steps = 5
    times = sampler.own_grid(denoiser.process, steps)
    start = noise(99)

    scheduler.set_timesteps(steps)
    euler = name.startswith("Euler")
    x = start * ((1 + scheduler.sigmas[0] ** 2) ** 0.5 if euler else 1)
    drawn = []
    if name == "DDPMScheduler":  # which adds the loop's own noise, and can only draw
        module = sys.modules[type(scheduler).__module__]
        monkeypatch.setattr(module, "randn_tensor", lambda shape, **named: drawn.pop())
    with torch.no_grad():
        for k, timestep in enumerate(scheduler.timesteps):
            drawn[:] = [noise(STREAM_PRIOR + k + 1)]
            seen = scheduler.scale_model_input(x, timestep) if euler else x
            output = network(seen, timestep).sample
            draws = {}
            if sampler.stochastic:
                draws["generator"] = [_generator(row) for row in noise(STREAM_PRIOR + k + 1)]
            x = scheduler.step(output, timestep, x, **draws).prev_sample
    monkeypatch.undo()
    made = wv.sample(
        denoiser, seeds=0, n=2, start=(start, float(times[0])), steps=steps, sampler=sampler, progress=False
    )
    assert made.calls == steps and len(made.times) == steps + 1
    torch.testing.assert_close(made.x, x, rtol=1e-3, atol=1e-3 * float(x.abs().max()))


GAUSSIAN = [
    ("DDIMScheduler", {"clip_sample": True}, 0.7),
    ("DDIMParallelScheduler", {"clip_sample": False, "timestep_spacing": "trailing"}, 1.0),
    ("DDPMScheduler", {}, 0.0),
    ("DDPMScheduler", {"variance_type": "fixed_large", "timestep_spacing": "trailing"}, 0.0),
    ("DDPMParallelScheduler", {"variance_type": "fixed_small_log", "clip_sample": False}, 0.0),
]


@pytest.mark.parametrize(("name", "settings", "eta"), GAUSSIAN, ids=lambda v: str(v))
def test_a_transition_is_the_step_of_its_scheduler(name, settings, eta):
    """Mean and spread of many of the scheduler's own steps from one x, and ours: mean + std * noise."""
    from diffusers import DDPMPipeline

    scheduler, network = built(name, settings)
    sampler = DiffusersScheduler(scheduler, eta=eta)
    denoiser = from_pipeline(DDPMPipeline(network, scheduler))
    times = sampler.own_grid(denoiser.process, 6)
    state, bound = sampler.init(noise(1), times), BoundDenoiser(denoiser)
    scheduler.set_timesteps(6)
    for k in (1, 5):
        x, t, s, z = noise(1), times[k], times[k + 1], noise(7)
        with torch.no_grad():
            mean, std, _ = sampler.transition(bound, x, t, s, state)
            made, _ = sampler.step(bound, x, t, s, state, z)
            output = network(x, scheduler.timesteps[k]).sample
        torch.testing.assert_close(mean + std * z, made)
        more = {"eta": eta} if name.startswith("DDIM") else {}
        many = torch.stack(
            [
                scheduler.step(
                    output, scheduler.timesteps[k], x, generator=torch.Generator().manual_seed(n), **more
                ).prev_sample
                for n in range(400)
            ]
        )
        scale = float(std) if float(std) > 1e-6 else 1e-3
        assert float((many.mean(0) - mean).abs().max()) < 0.25 * scale
        assert float((many - mean).square().mean().sqrt()) == pytest.approx(float(std), rel=0.01, abs=1e-4)


def test_steps_without_a_gaussian_transition_have_none():
    for name, settings in (("DDIMScheduler", {}), ("EulerAncestralDiscreteScheduler", {})):
        assert not DiffusersScheduler(built(name, settings)[0]).traits.gaussian


def test_mean_shifts_and_kicks_work_round_it():
    """Weights of EluCD and SDG contain the variance of the step: with its own DDPM they do what ours does."""
    from diffusers import DDIMScheduler, DDPMPipeline

    scheduler, network = built("DDPMScheduler", {"prediction_type": "sample", "clip_sample": False})
    denoiser = from_pipeline(DDPMPipeline(network, scheduler))
    energy = Reward(lambda x: x[:, 0].mean((1, 2)), name="red")
    timed = Reward(lambda x, t: x[:, 0].mean((1, 2)), timed=True, name="red")
    theirs, ours = DiffusersScheduler(scheduler), wv.DDPM()
    grid = theirs.own_grid(denoiser.process, 8)

    def drawn(sampler, **more):
        return wv.sample(denoiser, seeds=0, n=2, steps=8, sampler=sampler, progress=False, **more).x

    for guidance in (presets.elucd(energy, 60.0), presets.adm(timed, 60.0), presets.sdg(timed, 60.0)):
        found = drawn(guidance.sampler(theirs))
        assert (found - drawn(theirs)).abs().max() > 0.01
        torch.testing.assert_close(found, drawn(guidance.sampler(ours), grid=grid), rtol=1e-3, atol=1e-3)
    for sampler in (theirs, DiffusersScheduler(DDIMScheduler())):
        kicked = drawn(KickedSampler(sampler, energy, 0.1))
        assert (kicked - drawn(sampler)).abs().max() > 1e-3


def test_the_share_of_noise_of_ddim():
    scheduler, network = built("DDIMScheduler", {"prediction_type": "sample", "clip_sample": False})
    from diffusers import DDPMPipeline

    denoiser = from_pipeline(DDPMPipeline(network, scheduler))

    def drawn(sampler):
        return wv.sample(denoiser, seeds=0, n=2, steps=4, sampler=sampler, progress=False).x

    noisy = drawn(DiffusersScheduler(scheduler, eta=1.0))
    assert (noisy - drawn(DiffusersScheduler(scheduler))).abs().max() > 0.01
    alone = wv.sample(
        denoiser, seeds=[1], steps=4, sampler=DiffusersScheduler(scheduler, eta=1.0), progress=False
    ).x
    torch.testing.assert_close(alone, noisy[1:], rtol=1e-4, atol=1e-5)


def test_it_is_guided_and_differentiable_like_any_sampler():
    scheduler, network = built("EulerDiscreteScheduler", {"prediction_type": "sample"})
    from diffusers import DDPMPipeline

    denoiser = from_pipeline(DDPMPipeline(network, scheduler))
    energy = Reward(lambda x: x[:, 0].mean((1, 2)), name="red")
    guidance = presets.freedom(energy, 0.2, relative=True)

    def drawn(sampler):
        return wv.sample(denoiser, seeds=0, n=2, steps=4, sampler=sampler, progress=False).x

    plain = drawn(DiffusersScheduler(scheduler))
    steered = drawn(guidance.sampler(DiffusersScheduler(scheduler)))
    assert (energy(steered) > energy(plain) + 1e-3).all()
    made = wv.sample(
        denoiser, seeds=0, n=1, steps=3, sampler=DiffusersScheduler(scheduler), progress=False, grad=True
    )
    assert made.x.requires_grad


def test_the_scheduler_given_is_not_changed():
    scheduler, network = built("EulerDiscreteScheduler", {})
    from diffusers import DDPMPipeline

    before = scheduler.timesteps.clone()
    denoiser = from_pipeline(DDPMPipeline(network, scheduler))
    wv.sample(denoiser, seeds=0, n=1, steps=3, sampler=DiffusersScheduler(scheduler), progress=False)
    assert torch.equal(scheduler.timesteps, before) and scheduler.num_inference_steps is None


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("PNDMScheduler", "UniPC"),
        ("DPMSolverMultistepScheduler", "DPMSolverPP"),
        ("HeunDiscreteScheduler", "Heun"),
    ],
)
def test_schedulers_with_memory_are_refused_and_ours_named(name, instead):
    scheduler, _ = built(name, {})
    with pytest.raises(ValueError, match=f"{name} is not a function.*windvane.samplers has {instead}"):
        DiffusersScheduler(scheduler)


def test_what_does_not_fit_is_refused():
    scheduler, network = built("DDIMScheduler", {})
    other, _ = built("DDIMScheduler", {"beta_schedule": "squaredcos_cap_v2"})
    from diffusers import DDPMPipeline

    denoiser = from_pipeline(DDPMPipeline(network, scheduler))
    with pytest.raises(ValueError, match="process is not the denoiser's"):
        wv.sample(denoiser, seeds=0, n=1, steps=3, sampler=DiffusersScheduler(other))
    with pytest.raises(ValueError, match="takes its own times"):
        wv.sample(
            denoiser, seeds=0, n=1, sampler=DiffusersScheduler(scheduler), grid=torch.tensor([1.0, 0.5, 0.0])
        )
    with pytest.raises(ValueError, match="eta=0.5 belongs to DDIM"):
        DiffusersScheduler(built("DDPMScheduler", {})[0], eta=0.5)
    with pytest.raises(ValueError, match="no step of EulerAncestral.* for prediction_type='sample'"):
        DiffusersScheduler(built("EulerAncestralDiscreteScheduler", {"prediction_type": "sample"})[0])
    with pytest.raises(ValueError, match="learned variance"):
        DiffusersScheduler(built("DDPMScheduler", {"variance_type": "learned_range"})[0])


def labelled():
    from diffusers import DDPMPipeline, DDPMScheduler

    pipeline = DDPMPipeline(tiny.unet(num_class_embeds=4), DDPMScheduler(prediction_type="v_prediction"))
    return from_pipeline(pipeline, null_class=3)


COND = Condition.vector(torch.tensor([0, 2]))


def test_classifier_free_guidance_of_both_makers_is_one():
    from diffusers.guiders import ClassifierFreeGuidance

    denoiser = labelled()
    x, t = noise(0), torch.tensor(0.6)
    theirs = GuidedByDiffusers(denoiser, ClassifierFreeGuidance(guidance_scale=3.0))
    with wv.count_evaluations() as count:
        found = theirs(x, t, COND)
    assert (count.calls, count.rows) == (1, 4)
    ours = wv.ClassifierFree(denoiser, 3.0)(x, t, COND)
    torch.testing.assert_close(found, ours, rtol=1e-4, atol=1e-4 * float(ours.abs().max()))
    original = ClassifierFreeGuidance(guidance_scale=2.0, use_original_formulation=True)
    torch.testing.assert_close(
        GuidedByDiffusers(denoiser, original)(x, t, COND),
        ours,
        rtol=1e-4,
        atol=1e-4 * float(ours.abs().max()),
    )
    with pytest.raises(ValueError, match="ClassifierFreeGuidance needs a condition"):
        theirs(x, t)


def test_start_and_stop_count_the_steps_of_the_loop():
    from diffusers.guiders import ClassifierFreeGuidance

    denoiser = labelled()
    guided = GuidedByDiffusers(denoiser, ClassifierFreeGuidance(guidance_scale=3.0, start=0.25, stop=0.75))
    with pytest.raises(ValueError, match="counts steps"):
        guided(noise(0), torch.tensor(0.6), COND)
    made = wv.sample(guided, seeds=0, n=2, cond=COND, steps=4, progress=False)
    assert made.rows_per_sample == 4 + 2, "the two middle steps take both predictions"


@pytest.mark.parametrize(
    "name",
    [
        "ClassifierFreeZeroStarGuidance",
        "AdaptiveProjectedGuidance",
        "TangentialClassifierFreeGuidance",
    ],
)
def test_other_guiders_sample_whatever_the_batch(name):
    import diffusers.guiders

    denoiser = labelled()
    guided = GuidedByDiffusers(denoiser, getattr(diffusers.guiders, name)(guidance_scale=2.0))
    both = wv.sample(guided, seeds=0, n=2, cond=COND, steps=3, progress=False).x
    plain = wv.sample(denoiser, seeds=0, n=2, cond=COND, steps=3, progress=False).x
    assert (both - plain).abs().max() > 1e-2
    one = wv.sample(guided, seeds=[1], cond=COND.index(slice(1, 2)), steps=3, progress=False).x
    torch.testing.assert_close(one, both[1:], rtol=1e-3, atol=1e-3 * float(both.abs().max()))


def test_guiders_that_need_more_are_refused():
    from diffusers.guiders import AdaptiveProjectedGuidance, SkipLayerGuidance

    with pytest.raises(ValueError, match="SkipLayerGuidance does more"):
        GuidedByDiffusers(labelled(), SkipLayerGuidance(skip_layer_guidance_layers=[0]))
    with pytest.raises(ValueError, match="momentum"):
        GuidedByDiffusers(labelled(), AdaptiveProjectedGuidance(adaptive_projected_guidance_momentum=-0.5))
