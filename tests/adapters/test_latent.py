"""Latents: the pipelines' own scaling, gradients through the decoder, guidance by energies of pictures."""

import pytest
import torch

import windvane as wv
from tests.adapters import tiny_pipelines as tiny
from windvane.adapters import Latent, from_pipeline
from windvane.codec import Codec, data_shape
from windvane.energies import ClassLogProb, Decoded, Reward
from windvane.guidance import presets


def latents(shape, rows=3, seed=0):
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(seed))


def test_decoding_is_the_pipelines_own():
    kl, vq = tiny.vae(), tiny.vqvae()
    z4, z3 = latents((4, 4, 4)), latents((3, 4, 4))
    with torch.no_grad():
        torch.testing.assert_close(Latent(kl).decode(z4), kl.decode(z4 / 0.5).sample)
        torch.testing.assert_close(Latent(vq).decode(z3), vq.decode(z3 / 0.7).sample)


def test_encoding_takes_the_mean_and_undoes_the_scaling():
    pictures = latents((3, 8, 8))
    kl = tiny.vae()
    with torch.no_grad():
        wanted = kl.encode(pictures).latent_dist.mean * 0.5
        torch.testing.assert_close(Latent(kl).encode(pictures), wanted)
        torch.testing.assert_close(Latent(tiny.vqvae()).encode(pictures).shape, torch.Size((3, 3, 4, 4)))


def test_a_shift_is_undone_too():
    kl = tiny.vae()
    kl.register_to_config(shift_factor=0.3)
    latent, z = Latent(kl), latents((4, 4, 4))
    with torch.no_grad():
        torch.testing.assert_close(latent.decode(z), kl.decode(z / 0.5 + 0.3).sample)
        mean = kl.encode(latents((3, 8, 8))).latent_dist.mean
        torch.testing.assert_close(latent.encode(latents((3, 8, 8))), (mean - 0.3) * 0.5)


def test_gradients_through_the_decoder_are_those_of_finite_differences():
    latent = Latent(tiny.vae()).double()
    z = latents((4, 4, 4), rows=2).double().requires_grad_(True)
    energy = Decoded(Reward(lambda x: x.square().flatten(1).mean(1)), latent.decode)
    (gradient,) = torch.autograd.grad(energy(z).sum(), z)
    for seed in range(3):
        way = latents((4, 4, 4), rows=2, seed=10 + seed).double()
        step = 1e-5
        with torch.no_grad():
            slope = (energy(z + step * way) - energy(z - step * way)) / (2 * step)
        torch.testing.assert_close((gradient * way).flatten(1).sum(1), slope, rtol=1e-6, atol=1e-9)


def test_gradients_pass_straight_through_the_quantisation():
    vq = tiny.vqvae()
    latent, z = Latent(vq), latents((3, 4, 4)).requires_grad_(True)
    (found,) = torch.autograd.grad(latent.decode(z).square().sum(), z)
    codes = vq.quantize(z.detach() / 0.7)[0].requires_grad_(True)
    after = vq.decode(codes, force_not_quantize=True).sample
    (wanted,) = torch.autograd.grad(after.square().sum(), codes)
    assert float(wanted.abs().max()) > 1e-3
    torch.testing.assert_close(found, wanted / 0.7, rtol=1e-4, atol=1e-5)


def test_a_decoded_energy_is_the_energy_of_the_pictures():
    latent, z = Latent(tiny.vae()), latents((4, 4, 4))
    a, b = Reward(lambda x: x.mean((1, 2, 3))), Reward(lambda x: -x.square().mean((1, 2, 3)))
    pictures = latent.decode(z)
    calls = []

    def decode(z):
        calls.append(len(z))
        return latent.decode(z)

    torch.testing.assert_close(Decoded(a + 2 * b, decode)(z), a(pictures) + 2 * b(pictures))
    assert calls == [3], "a sum is decoded once"
    named = Decoded(ClassLogProb(lambda x: x.mean((2, 3)), "class_id"), latent.decode)
    assert named.signals == {"class_id"}
    cond = wv.Condition({"class_id": torch.tensor([0, 1, 2])})
    wanted = pictures.mean((2, 3)).log_softmax(1).diagonal()
    torch.testing.assert_close(named(z, cond=cond), wanted)
    with pytest.raises(ValueError, match="1 pictures of 3 latents"):
        Decoded(a, lambda z: latent.decode(z[:1]))(z)


@pytest.mark.parametrize("make", [tiny.dit_pipeline, tiny.ldm], ids=["dit", "ldm"])
def test_a_latent_pipeline_is_steered_by_what_its_pictures_show(make):
    pipeline = make()
    pipeline.scheduler.register_to_config(prediction_type="sample")
    denoiser = from_pipeline(pipeline)
    energy = Decoded(Reward(lambda x: x[:, 0].mean((1, 2)), name="red"), denoiser.decode)
    guidance = presets.freedom(energy, 0.2, relative=True)

    def drawn(sampler):
        return wv.sample(denoiser, seeds=0, n=3, steps=6, sampler=sampler, progress=False)

    plain, steered = drawn(wv.DDIM()), drawn(guidance.sampler(wv.DDIM()))
    with torch.no_grad():
        if make is tiny.dit_pipeline:
            assert (energy(steered.x) > energy(plain.x) + 1e-3).all()
        else:  # a random code book's gradient leads nowhere: it is checked by value above, here that it acts
            assert (energy(steered.x) - energy(plain.x)).abs().min() > 1e-3
    alone = wv.sample(denoiser, seeds=[1], steps=6, sampler=guidance.sampler(wv.DDIM()), progress=False)
    torch.testing.assert_close(alone.x, steered.x[1:2], rtol=1e-4, atol=1e-4)


def test_samples_are_decoded_in_parts():
    denoiser = from_pipeline(tiny.dit_pipeline(prediction_type="sample"))
    made = wv.sample(denoiser, seeds=0, n=3, steps=2, progress=False)
    whole, parts = made.decoded(denoiser.decode), made.decoded(denoiser.decode, batch_size=2)
    assert whole.x.shape == (3, 3, 8, 8) and not whole.x.requires_grad
    torch.testing.assert_close(whole.x, parts.x)
    torch.testing.assert_close(whole.x, denoiser.decode(made.x).detach())
    assert whole.calls == made.calls and torch.equal(whole.seeds, made.seeds)
    graded = wv.sample(denoiser, seeds=0, n=1, steps=2, progress=False, grad=True)
    assert graded.decoded(denoiser.decode).x.requires_grad


def test_a_pipeline_of_latents_says_what_its_codec_is():
    denoiser = from_pipeline(tiny.dit_pipeline(prediction_type="sample"))
    codec = denoiser.codec
    assert isinstance(codec, Codec) and codec.value_range == (-1.0, 1.0)
    assert codec.latent_shape((3, 8, 8)) == denoiser.shape == (4, 4, 4)
    assert data_shape(codec, denoiser.shape, "cpu") == (3, 8, 8) and data_shape(None, (4, 4), "cpu") == (4, 4)
    x, cond = latents((4, 4, 4)), wv.Condition.vector(torch.arange(3))
    torch.testing.assert_close(codec.decode(x, cond), denoiser.decode(x))
    with pytest.warns(DeprecationWarning, match="is now codec"):
        assert denoiser.latent is codec
    assert wv.NetworkDenoiser(torch.nn.Identity(), wv.VPCosine()).codec is None


def test_pixels_need_no_decoding():
    denoiser = from_pipeline(tiny.ddim())
    assert denoiser.codec is None
    x = latents((3, 8, 8))
    assert denoiser.decode(x) is x and denoiser.encode(x) is x


def test_no_autoencoders_are_refused():
    with pytest.raises(ValueError, match="Linear is no autoencoder"):
        Latent(torch.nn.Linear(1, 1))
    kl = tiny.vae()
    kl.register_to_config(latents_mean=[0.0] * 4)
    with pytest.raises(ValueError, match="by channel"):
        Latent(kl)
