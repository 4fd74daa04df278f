"""CLIP and SigLIP as encoders of texts and pictures: equal to transformers' own, with gradients to pixels."""

import pytest
import torch

import windvane as wv
from tests.adapters import tiny_pipelines as tiny
from tests.adapters import tiny_text
from windvane.adapters import from_pipeline, load_text_image
from windvane.guidance import presets

KINDS = ["clip", "siglip"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("text")
    return {kind: tiny_text.save(kind, root / kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def encoder(request, folders):
    return load_text_image(folders[request.param])


def as_tensor(output):
    """transformers has returned the features themselves, and an output that holds them."""
    return output if isinstance(output, torch.Tensor) else output.pooler_output


def test_embeddings_are_those_of_transformers(encoder):
    x = tiny_text.pictures()
    sentences = ["a photo of the red dog", "a cat"]
    family = encoder.model.config.model_type
    padding = True if family == "clip" else "max_length"
    tokens = encoder.tokenizer(sentences, padding=padding, max_length=8, truncation=True, return_tensors="pt")
    names = ["input_ids", "attention_mask"] if family == "clip" else ["input_ids"]
    with torch.no_grad():
        image = as_tensor(encoder.model.get_image_features(pixel_values=encoder.preprocess(x)))
        text = as_tensor(encoder.model.get_text_features(**{name: tokens[name] for name in names}))
        torch.testing.assert_close(encoder.image(x), image)
    torch.testing.assert_close(encoder.text(sentences), text)
    assert (text[0] - text[1]).abs().max() > 1e-2


def test_pictures_are_normalised_by_the_familys_own_statistics(encoder):
    """(v - mean) / std of v in [0, 1], channel by channel, with the numbers of the published models."""
    clip = encoder.model.config.model_type == "clip"
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073] if clip else [0.5] * 3)[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711] if clip else [0.5] * 3)[:, None, None]
    x = tiny_text.pictures(side=tiny_text.VISION["image_size"]).clamp(-1, 1)
    torch.testing.assert_close(encoder.preprocess(x), ((x + 1) / 2 - mean) / std)


def test_pixels_out_of_range_are_pulled_too(encoder):
    """A prediction of x0 is not clipped before energies see it: saturated pixels must not be left alone."""
    x = (3 * tiny_text.pictures(side=tiny_text.VISION["image_size"])).requires_grad_(True)
    outside = x.abs() > 1
    assert bool(outside.any()) and not bool(outside.all())
    (g,) = torch.autograd.grad(encoder.text_similarity("a red dog")(x).sum(), x)
    assert g[outside].abs().min() > 0
    clipped = x.detach().clamp(-1, 1)
    assert torch.equal(encoder.image(x.detach()), encoder.image(clipped)), (
        "what is seen is the clipped picture"
    )


def test_a_text_is_embedded_alike_in_any_company(encoder):
    together = encoder.text(["a cat", "a photo of the red dog"])
    torch.testing.assert_close(encoder.text(["a cat"]), together[:1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder.text("a cat"), together[:1], rtol=1e-4, atol=1e-5)
    assert encoder.text(["the dog " * 30]).shape == (1, together.shape[1]), "long texts are cut"
    with pytest.raises(ValueError, match="at least one"):
        encoder.text([])


@pytest.mark.parametrize("which", ["text", "image", "maps"])
def test_gradients_to_pixels_are_those_of_finite_differences(encoder, which):
    encoder = encoder.double()
    reference = tiny_text.pictures(rows=1, seed=5).double()
    energy = {
        "text": lambda: encoder.text_similarity("a red dog"),
        "image": lambda: encoder.image_similarity(reference),
        "maps": lambda: encoder.feature_match(reference),
    }[which]()
    x = tiny_text.pictures().double().requires_grad_(True)
    values = energy(x)
    (gradient,) = torch.autograd.grad(values.sum(), x)
    assert values.shape == (2,) and (gradient.flatten(1).norm(dim=1) > 1e-6).all()
    numbers = torch.Generator().manual_seed(1)
    for _ in range(2):
        way = torch.randn(x.shape, generator=numbers, dtype=torch.float64)
        step = 1e-5
        with torch.no_grad():
            slope = (energy(x + step * way) - energy(x - step * way)) / (2 * step)
        torch.testing.assert_close((gradient * way).flatten(1).sum(1), slope, rtol=1e-4, atol=1e-8)


def test_maps_keep_the_layout(encoder):
    x = tiny_text.pictures(rows=1, side=16)
    maps = encoder.maps(x)
    assert maps.shape == (1, 16, 4, 4)
    moved = x.clone()
    moved[..., :4, :4] += 0.3
    change = (encoder.maps(moved) - maps).abs().sum(1)[0]
    assert change.flatten().argmax() == 0, "the patch that changed is the first"


def test_text_and_picture_steer_a_pipeline_together(encoder):
    denoiser = from_pipeline(tiny.ddim(prediction_type="sample"))
    energy = encoder.text_similarity("a red dog") + encoder.image_similarity(tiny_text.pictures(1))
    guidance = presets.freedom(energy, 0.3, relative=True)

    def drawn(sampler, **given):
        return wv.sample(denoiser, steps=5, sampler=sampler, progress=False, **given).x

    plain = drawn(wv.DDIM(), seeds=0, n=3)
    steered = drawn(guidance.sampler(wv.DDIM()), seeds=0, n=3)
    with torch.no_grad():
        assert energy(steered).mean() > energy(plain).mean()
    alone = drawn(guidance.sampler(wv.DDIM()), seeds=[2])
    torch.testing.assert_close(alone, steered[2:], rtol=1e-3, atol=1e-4)


def test_other_models_and_missing_ones_are_refused(tmp_path):
    import transformers as hf

    vit = hf.ViTModel(hf.ViTConfig(**tiny_text.VISION))
    vit.save_pretrained(tmp_path / "vit")
    tiny_text.tokenizer("clip").save_pretrained(tmp_path / "vit")
    with pytest.raises(ValueError, match="is a vit; texts and pictures in one space come from clip"):
        load_text_image(tmp_path / "vit")
    from safetensors.torch import load_file, save_file

    broken = tiny_text.save("clip", tmp_path / "clip")
    weights = load_file(broken / "model.safetensors")
    weights.pop("visual_projection.weight")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="no weights for visual_projection.weight, which would be random"):
        load_text_image(broken)
    with pytest.raises(ValueError, match="network was not asked.*Without a network"):
        load_text_image("nobody/nothing-here", offline=True)
