"""SDG's way from end to end on a tiny CLIP or SigLIP: made noise-aware, aligned, guiding by a text at x_t."""

import pytest
import torch

import windvane as wv
from tests.adapters import tiny_text
from windvane.adapters import load_text_image
from windvane.energies import TextSimilarity
from windvane.tasks.steering import guidance
from windvane.training.noise_aware import align, noise_aware

SIDE = tiny_text.VISION["image_size"]


@pytest.fixture(params=["clip", "siglip"])
def encoder(request, tmp_path):
    return load_text_image(tiny_text.save(request.param, tmp_path))


@pytest.fixture(scope="module")
def model():
    """Forty pictures, known by heart."""
    x = tiny_text.pictures(40, side=SIDE)
    shape = (3, SIDE, SIDE)
    return wv.GaussianMixtureDenoiser([1.0] * 40, x.flatten(1), [0.01] * 40, wv.VPCosine(), shape=shape)


def test_the_image_side_is_the_encoder_but_for_clipping(encoder):
    x = tiny_text.pictures(side=SIDE)
    side = encoder.image_side
    torch.testing.assert_close(side(x), encoder.image(x))
    assert not torch.allclose(side(3 * x), encoder.image(3 * x), atol=1e-3)
    assert not any(parameter.requires_grad for parameter in side.parameters())


def test_aligned_it_sees_through_noise_and_guides_by_a_text(encoder, model):
    x, process = tiny_text.pictures(40, side=SIDE), model.process
    clean = encoder.image_side
    student = noise_aware(clean, process, width=32, frequencies=16)
    torch.testing.assert_close(student(x, 0.7), clean(x))
    assert len(student.sizes) == sum(isinstance(m, torch.nn.LayerNorm) for m in clean.modules())

    def seen(eye):
        """How alike what is seen of a noisy picture is to the clean embedding, beyond that of another one."""
        t = torch.full((40,), 0.35, dtype=torch.float64)
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
        with torch.no_grad():
            ours, theirs = eye(process.perturb(x, t, noise), t), clean(x)
            alike = torch.nn.functional.cosine_similarity(ours[:, None], theirs[None], dim=2)
        return float(alike.diag().mean() - alike.mean())

    before = seen(student)
    losses = align(
        student, clean, x, process, steps=60, batch_size=40, lr=2e-3, temperature=0.1, progress=False
    )
    assert sum(losses[-10:]) < sum(losses[:10])
    assert seen(student) > before + 0.02
    assert not any(parameter.requires_grad for parameter in clean.parameters()), "the teacher stays frozen"

    text = TextSimilarity.of(student, encoder.text, "a red dog", timed=True)
    judge = encoder.text_similarity("a red dog")
    sampler = guidance(text, 1.0, "sdg").sampler(wv.DDIM())
    plain, guided = (
        wv.sample(model, seeds=0, n=24, steps=12, sampler=one, progress=False).x
        for one in (wv.DDIM(), sampler)
    )
    assert judge(guided).mean() > judge(plain).mean() + 0.01
