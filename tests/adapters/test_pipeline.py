"""Pipelines of diffusers as denoisers: equal to their networks by hand, and to the pipelines' own loops."""

import json

import pytest
import torch

import windvane as wv
from tests.adapters import tiny_pipelines as tiny
from windvane.adapters import from_pipeline
from windvane.conditions import Condition

N = 1000


def at(index, steps=N):
    """The time of an index of a table."""
    return torch.tensor([(index + 1) / steps] * 2, dtype=torch.float64)


def states(shape=(3, 8, 8), seed=0, rows=2):
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(seed))


def by_hand(kind, a, x, output):
    """x0 from the network's output at alpha^2 = a, for each of diffusers' predictions."""
    alpha, sigma = a**0.5, (1 - a) ** 0.5
    return {
        "epsilon": (x - sigma * output) / alpha,
        "v_prediction": alpha * x - sigma * output,
        "sample": output,
    }[kind]


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("scheduler", ["DDPMScheduler", "PNDMScheduler", "EulerDiscreteScheduler"])
def test_the_denoiser_is_the_network_used_by_hand(kind, scheduler):
    import diffusers

    made = getattr(diffusers, scheduler)(prediction_type=kind if scheduler != "PNDMScheduler" else "epsilon")
    kind = made.config.prediction_type
    network = tiny.unet()
    denoiser = from_pipeline(diffusers.DDPMPipeline(network, made))
    x = states().requires_grad_(True)
    for index in (0, 1, 400, 999):
        found = denoiser(x, at(index))
        wanted = by_hand(kind, made.alphas_cumprod[index], x, network(x, index).sample)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        weight = states(seed=1)
        ours, theirs = (torch.autograd.grad((d * weight).sum(), x)[0] for d in (found, wanted))
        assert theirs.abs().max() > 0.1
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))


def test_flow_matching_is_the_rectified_flow():
    from diffusers import DDPMPipeline, FlowMatchEulerDiscreteScheduler

    network = tiny.unet()
    denoiser = from_pipeline(DDPMPipeline(network, FlowMatchEulerDiscreteScheduler(shift=3.0)))
    assert isinstance(denoiser.process, wv.RectifiedFlow)
    assert "shifts its times by 3" in denoiser.notes[0]
    x, t = states(), 0.3
    wanted = x - t * network(x, torch.tensor(1000 * t)).sample
    torch.testing.assert_close(denoiser(x, torch.tensor(t)), wanted)


def test_scores_of_pictures_in_0_1_are_brought_to_both_signs():
    from diffusers import ScoreSdeVePipeline, ScoreSdeVeScheduler

    network = tiny.unet(time_embedding_type="fourier")
    denoiser = from_pipeline(ScoreSdeVePipeline(network, ScoreSdeVeScheduler(sigma_max=50.0)))
    half = 2.5  # the noise level of pictures in [0, 1]
    small = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 5 - 2
    score = network(small, torch.full((2,), half)).sample
    t = denoiser.process.t_of_noise_level(torch.tensor(2 * half, dtype=torch.float64))
    found = denoiser(2 * small - 1, t)
    torch.testing.assert_close(found, 2 * (small + half**2 * score) - 1, rtol=1e-4, atol=1e-4)


def resampled(denoiser, pipeline, start):
    """DDIM here, from the same start and at the same times as the pipeline's latest run."""
    times = denoiser.schedule.time_of(pipeline.scheduler.timesteps)
    grid = torch.cat([times, torch.zeros(1)])
    return wv.sample(
        denoiser, seeds=0, n=len(start), start=(start, float(grid[0])), grid=grid, sampler=wv.DDIM()
    )


@pytest.mark.parametrize("steps", [4, 10])
@pytest.mark.parametrize("kind", ["v_prediction", "sample"])
def test_ddim_here_is_the_loop_of_the_ddim_pipeline(steps, kind):
    pipeline = tiny.quiet(tiny.ddim(prediction_type=kind))
    noise = torch.Generator().manual_seed(3)
    theirs = pipeline(batch_size=2, generator=noise, num_inference_steps=steps, output_type="pt").images
    start = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    made = resampled(from_pipeline(pipeline), pipeline, start)
    assert made.calls == steps
    assert float(((theirs > 0.02) & (theirs < 0.98)).float().mean()) > 0.5, "the pictures are all clipped"
    torch.testing.assert_close((made.x / 2 + 0.5).clamp(0, 1), theirs.cpu(), rtol=1e-4, atol=1e-4)


def test_ddim_of_eps_is_the_loop_of_its_scheduler():
    pipeline = tiny.ddim()
    x = start = states(seed=3)
    pipeline.scheduler.set_timesteps(10)
    with torch.no_grad():
        for timestep in pipeline.scheduler.timesteps:
            x = pipeline.scheduler.step(pipeline.unet(x, timestep).sample, timestep, x).prev_sample
    made = resampled(from_pipeline(pipeline), pipeline, start)
    torch.testing.assert_close(made.x, x, rtol=1e-4, atol=1e-4 * float(x.abs().max()))


def test_a_saved_pipeline_is_the_object(tmp_path):
    pipeline = tiny.ddim(clip_sample=True)
    pipeline.save_pretrained(tmp_path / "ddim")
    saved, opened = from_pipeline(tmp_path / "ddim"), from_pipeline(pipeline)
    assert torch.equal(saved(states(), at(300)), opened(states(), at(300)))
    assert saved.folder == tmp_path / "ddim" and saved.clip == 1.0 and "clip=1" in saved.notes[0]
    assert not saved.training


def test_files_beside_the_index_are_found(tmp_path):
    pipeline = tiny.ddim()
    pipeline.save_pretrained(tmp_path / "new")
    old = tmp_path / "old"
    pipeline.unet.save_pretrained(old)
    pipeline.scheduler.save_pretrained(old)
    (old / "model_index.json").write_text((tmp_path / "new" / "model_index.json").read_text())
    assert torch.equal(from_pipeline(old)(states(), at(9)), from_pipeline(pipeline)(states(), at(9)))


def test_opening_leaves_the_random_numbers_alone(tmp_path):
    tiny.ddim().save_pretrained(tmp_path / "ddim")
    before = torch.get_rng_state()
    from_pipeline(tmp_path / "ddim")
    assert torch.equal(before, torch.get_rng_state())


def test_a_dit_by_hand_with_its_null_class_and_no_variance():
    pipeline = tiny.dit_pipeline()
    denoiser = from_pipeline(pipeline)
    assert denoiser.shape == (4, 4, 4) and denoiser.classes == 5 and denoiser.null_class == 5
    assert denoiser.names == {0: "cat", 1: "dog", 2: "fish", 3: "bird", 4: "snail"}
    assert "the learned variance is dropped" in denoiser.notes
    x = states((4, 4, 4), rows=3)
    cond = Condition.vector(torch.tensor([3, 1, 0])).drop(torch.tensor([False, True, False]))
    t = torch.tensor((400 + 1) / N, dtype=torch.float64)
    labels = torch.tensor([3, 5, 0])
    output = pipeline.transformer(x, timestep=torch.full((3,), 400), class_labels=labels).sample[:, :4]
    wanted = by_hand("epsilon", pipeline.scheduler.alphas_cumprod[400], x, output)
    torch.testing.assert_close(denoiser(x, t, cond), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(denoiser(x, t, cond.null()), denoiser(x, t))


def test_classifier_free_guidance_is_the_loop_of_the_dit_pipeline():
    # The pipeline takes 1000 for the null class, whatever its network.
    pipeline = tiny.quiet(tiny.dit_pipeline(classes=1000, prediction_type="v_prediction"))
    theirs = pipeline(
        [1, 4], guidance_scale=3.0, num_inference_steps=5, output_type="pt",
        generator=torch.Generator().manual_seed(2),
    ).images  # fmt: skip
    start = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(2))
    denoiser = from_pipeline(pipeline)
    grid = torch.cat([denoiser.schedule.time_of(pipeline.scheduler.timesteps), torch.zeros(1)])
    made = wv.sample(
        wv.ClassifierFree(denoiser, 3.0), seeds=0, n=2, start=(start, float(grid[0])), grid=grid,
        cond=Condition.vector(torch.tensor([1, 4])),
    )  # fmt: skip
    ours = (denoiser.decode(made.x) / 2 + 0.5).clamp(0, 1).detach()
    assert float(theirs.std()) > 0.01
    torch.testing.assert_close(ours, theirs.cpu(), rtol=1e-3, atol=1e-3)


def test_a_unet_with_classes_and_a_null_class_of_ones_own():
    from diffusers import DDPMPipeline, DDPMScheduler

    network = tiny.unet(num_class_embeds=4)
    pipeline = DDPMPipeline(network, DDPMScheduler())
    x, ids = states(), torch.tensor([2, 0])
    plain = from_pipeline(pipeline)
    assert plain.classes == 4 and plain.null_class is None
    named = from_pipeline(pipeline, null_class=3)
    assert named.classes == 3
    cond = Condition.vector(ids)
    assert torch.equal(plain(x, at(9), cond), named(x, at(9), cond))
    assert torch.equal(named(x, at(9)), plain(x, at(9), Condition.vector(torch.tensor([3, 3]))))
    for none in (None, cond.null()):
        with pytest.raises(ValueError, match="null_class="):
            plain(x, at(9), none)


def test_weights_in_half_precision_keep_the_state():
    denoiser = from_pipeline(tiny.ddim(), dtype=torch.bfloat16)
    found = denoiser(states(), at(500))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, from_pipeline(tiny.ddim())(states(), at(500)), rtol=0.3, atol=0.3)


def test_zero_terminal_snr_is_a_schedule_too():
    denoiser = from_pipeline(
        tiny.ddim(rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing")
    )
    last = denoiser.process.alpha(torch.tensor([0.999, 1.0], dtype=torch.float64))
    assert 0 < float(last[1]) < 1e-4 and abs(float(last[0] / last[1]) - 2) < 1e-9
    assert torch.isfinite(wv.sample(denoiser, seeds=0, n=1, steps=3, progress=False).x).all()


@pytest.mark.parametrize(
    ("cond", "message"),
    [
        (Condition.vector(torch.tensor([0, 5])), "class id 5 is out of range"),
        (Condition.vector(torch.zeros(2, 4)), "integers"),
        (Condition.vector(torch.tensor([0])), "1 rows"),
        (Condition({"layout": torch.zeros(2, 1, 8, 8)}), "layout"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(cond, message):
    from diffusers import DDPMPipeline, DDPMScheduler

    denoiser = from_pipeline(DDPMPipeline(tiny.unet(num_class_embeds=4), DDPMScheduler()))
    with pytest.raises(ValueError, match=message):
        denoiser(states(), at(9), cond)


def test_an_unconditional_pipeline_refuses_a_condition():
    with pytest.raises(ValueError, match="takes no condition"):
        from_pipeline(tiny.ddim())(states(), at(9), Condition.vector(torch.tensor([0, 1])))


def edited(folder, change):
    """The folder of a tiny pipeline with its index changed."""
    tiny.ddim().save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text())
    change(index)
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: i.update(text_encoder=["transformers", "CLIPTextModel"]), "text_encoder.*unconditional"),
        (lambda i: i.update(unet=["diffusers", "UNet2DConditionModel"]), "UNet2DConditionModel; known"),
        (lambda i: i.pop("unet"), "has no network"),
        (lambda i: i.pop("scheduler"), "has no scheduler"),
        (
            lambda i: i.update(scheduler=["diffusers", "NoSuchScheduler"]),
            "NoSuchScheduler, which the install",
        ),
        (lambda i: i.update(vae=["diffusers", "AutoencoderKL"]), "cannot load the vae"),
    ],
    ids=["text", "text-unet", "no-unet", "no-scheduler", "unknown-scheduler", "no-vae-files"],
)
def test_pipelines_that_cannot_be_used_are_refused_with_the_reason(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        from_pipeline(edited(tmp_path / "p", change))


@pytest.mark.parametrize("name", ["EDMEulerScheduler", "CMStochasticIterativeScheduler", "IPNDMScheduler"])
def test_schedulers_that_cannot_be_expressed_are_refused(name):
    import diffusers

    with pytest.raises(ValueError, match=f"{name} cannot be expressed"):
        from_pipeline(diffusers.DDPMPipeline(tiny.unet(), getattr(diffusers, name)()))


def test_missing_and_damaged_files_are_named(tmp_path):
    tiny.ddim().save_pretrained(tmp_path / "p")
    with pytest.raises(ValueError, match=r"no model_index.json; it has a config.json"):
        from_pipeline(tmp_path / "p" / "unet")
    weights = tmp_path / "p" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match="cannot load the unet"):
        from_pipeline(tmp_path / "p")
    weights.unlink()
    with pytest.raises(ValueError, match="cannot load the unet"):
        from_pipeline(tmp_path / "p")
    (tmp_path / "p" / "model_index.json").write_text("[")
    with pytest.raises(ValueError, match="damaged"):
        from_pipeline(tmp_path / "p")


def test_names_that_are_nowhere_name_the_offline_choices(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="network was not asked.*Without a network give a pipeline folder"):
        from_pipeline("hub:nobody/nothing-here", offline=True)
    (tmp_path / "runs").mkdir()
    with pytest.raises(ValueError, match="no pipeline folder 'runs/none'"):
        from_pipeline("runs/none")
    with pytest.raises(ValueError, match="got int"):
        from_pipeline(3)


def test_odd_networks_are_refused():
    from diffusers import DDPMPipeline, DDPMScheduler

    with pytest.raises(ValueError, match="takes 3 channels and gives 4"):
        from_pipeline(DDPMPipeline(tiny.unet(out_channels=4), DDPMScheduler()))
    with pytest.raises(ValueError, match="type 'identity'"):
        from_pipeline(DDPMPipeline(tiny.unet(class_embed_type="identity"), DDPMScheduler()))
    with pytest.raises(ValueError, match="no classes"):
        from_pipeline(tiny.ddim(), null_class=3)
