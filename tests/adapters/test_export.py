"""Models of Windvane written as pipelines, opened by diffusers and by Windvane again."""

import pytest
import torch

import windvane as wv
from tests.adapters import tiny_pipelines as tiny
from tests.kept_folders import assert_replaces_only_its_own, contents
from windvane.adapters import from_pipeline, to_pipeline
from windvane.conditions import Condition
from windvane.denoiser import NetworkDenoiser
from windvane.networks import ConditionedUNet, ResidualMLP

SHAPE = (1, 8, 8)


def model(process, parametrisation, **settings):
    network = ConditionedUNet.build(shape=SHAPE, channels=(8, 8), layers_per_block=1, **settings)
    return NetworkDenoiser(
        tiny.filled(network), process, parametrisation=parametrisation, shape=SHAPE, time="index"
    )


def states(rows=2, seed=0):
    return torch.randn(rows, *SHAPE, generator=torch.Generator().manual_seed(seed))


def compare(ours, theirs, indices, cond=None):
    """The two denoisers at the times of the table, and the noise levels there."""
    x = states()
    for k in indices:
        t, same = torch.tensor(k / 1000, dtype=torch.float64), theirs.schedule.time_of(torch.tensor(k))
        levels = (d.process.noise_level(at) for d, at in ((theirs, same), (ours, t)))
        torch.testing.assert_close(*levels, rtol=1e-7, atol=0)
        wanted, found = ours(x, t, cond), theirs(x, same, cond)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("parametrisation", ["eps", "v", "x0"])
@pytest.mark.parametrize(
    "process", [wv.VPLinear(), wv.VPCosine(), wv.VPTable([0.9995**k for k in range(1, 501)])]
)
def test_the_pipeline_is_the_model_at_equal_noise_levels(process, parametrisation, tmp_path):
    denoiser = model(process, parametrisation)
    opened = from_pipeline(to_pipeline(denoiser, tmp_path / "p"))
    assert opened.shape == SHAPE and opened.clip is None and opened.schedule.steps == 1001
    compare(denoiser, opened, [1, 2, 250, 333, 900, 1000])


def test_a_flow_is_exported_exactly(tmp_path):
    denoiser = model(wv.RectifiedFlow(), "flow")
    opened = from_pipeline(to_pipeline(denoiser, tmp_path / "p"))
    t = torch.tensor(0.37, dtype=torch.float64)
    torch.testing.assert_close(opened(states(), t), denoiser(states(), t), rtol=0, atol=0)


@pytest.mark.parametrize("parametrisation", ["v", "x0"])
def test_diffusers_samples_what_windvane_samples(parametrisation, tmp_path):
    from diffusers import DDIMPipeline

    denoiser = model(wv.VPCosine(), parametrisation)
    pipeline = tiny.quiet(DDIMPipeline.from_pretrained(to_pipeline(denoiser, tmp_path / "p")))
    theirs = pipeline(
        batch_size=2, num_inference_steps=11, generator=torch.Generator().manual_seed(1), output_type="pt"
    ).images
    start = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1))
    # Index k of the exported scheduler is the model's own time k / 1000.
    grid = torch.cat([pipeline.scheduler.timesteps.double() / 1000, torch.zeros(1)])
    assert float(grid[0]) == 1.0
    ours = wv.sample(denoiser, seeds=0, n=2, start=(start, 1.0), grid=grid, sampler=wv.DDIM()).x
    assert float(((theirs > 0.02) & (theirs < 0.98)).float().mean()) > 0.3
    torch.testing.assert_close((ours / 2 + 0.5).clamp(0, 1), theirs.cpu(), rtol=1e-3, atol=1e-3)


def test_diffusers_samples_a_flow(tmp_path):
    from diffusers import DDPMPipeline

    denoiser = model(wv.RectifiedFlow(), "flow")
    pipeline = tiny.quiet(DDPMPipeline.from_pretrained(to_pipeline(denoiser, tmp_path / "p")))
    theirs = pipeline(
        batch_size=2, num_inference_steps=6, generator=torch.Generator().manual_seed(1), output_type="pt"
    ).images
    start = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1))
    grid = pipeline.scheduler.sigmas.double()
    ours = wv.sample(denoiser, seeds=0, n=2, start=(start, 1.0), grid=grid, sampler=wv.Euler()).x
    torch.testing.assert_close((ours / 2 + 0.5).clamp(0, 1), theirs.cpu(), rtol=1e-4, atol=1e-4)


def test_classes_become_a_table_whose_last_row_is_none(tmp_path):
    denoiser = model(wv.VPCosine(), "v", vector=3)
    opened = from_pipeline(to_pipeline(denoiser, tmp_path / "p"))
    assert opened.classes == 3 and opened.null_class == 3
    cond = Condition.vector(torch.tensor([2, 1])).drop(torch.tensor([False, True]))
    x, t = states(), torch.tensor(0.4, dtype=torch.float64)
    assert (denoiser(x, t, cond) - denoiser(x, t)).abs().max() > 1e-3
    for given in (cond, Condition.vector(torch.tensor([0, 2])), None):
        compare(denoiser, opened, [100, 400], given)


def test_saving_and_exporting_leave_the_model_as_it_was(tmp_path):
    denoiser = model(wv.VPCosine(), "v", vector=3)
    before = {name: value.clone() for name, value in denoiser.state_dict().items()}
    to_pipeline(denoiser, tmp_path / "p")
    to_pipeline(denoiser, tmp_path / "p")
    assert all(torch.equal(value, before[name]) for name, value in denoiser.state_dict().items())


@pytest.mark.parametrize("vector", [None, 3])
def test_a_pipeline_takes_the_place_of_one_of_windvane_only(vector, tmp_path):
    denoiser = model(wv.VPCosine(), "v", vector=vector)
    assert_replaces_only_its_own(lambda path: to_pipeline(denoiser, path), tmp_path)
    tiny.ddim().save_pretrained(tmp_path / "diffusers")
    before = contents(tmp_path / "diffusers")
    with pytest.raises(ValueError, match="is not a pipeline of this library"):
        to_pipeline(denoiser, tmp_path / "diffusers")
    assert contents(tmp_path / "diffusers") == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: model(wv.EDM(), "eps"), "EDM has no scheduler"),
        (lambda: model(wv.PFGMPP(), "eps"), "PFGMPP has no scheduler"),
        (lambda: model(wv.VPCosine(), "flow"), "predicts 'flow'"),
        (lambda: model(wv.RectifiedFlow(), "eps"), "got 'eps'"),
        (lambda: model(wv.VPCosine(), "v", layout=2), "takes layout"),
        (
            lambda: NetworkDenoiser(model(wv.VPCosine(), "v").network, wv.VPCosine(), time="log_snr"),
            "'log_snr' as its time",
        ),
        (
            lambda: NetworkDenoiser(ResidualMLP.build(shape=SHAPE, width=8, blocks=1), wv.VPCosine()),
            "takes a ResidualMLP",
        ),
    ],
    ids=["edm", "pfgmpp", "flow-on-vp", "eps-on-flow", "layout", "log-snr", "mlp"],
)
def test_what_diffusers_cannot_express_is_refused(make, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        to_pipeline(make(), tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_a_denoiser_of_a_pipeline_is_one_already(tmp_path):
    from diffusers import DDPMPipeline, DDPMScheduler

    pipeline = DDPMPipeline(tiny.unet(), DDPMScheduler())
    with pytest.raises(ValueError, match=r"one already: pipeline.save_pretrained\(path\)"):
        wv.to_pipeline(wv.from_pipeline(pipeline), tmp_path / "out")
    pipeline.save_pretrained(tmp_path / "theirs")
    with pytest.raises(ValueError, match="one already: copy its folder .*theirs"):
        wv.to_pipeline(wv.from_pipeline(tmp_path / "theirs"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
