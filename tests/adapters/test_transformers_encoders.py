import json
import shutil

import numpy as np
import pytest
import torch

from tests.annotate.stand_ins import TensorImages
from windvane.adapters.preprocess import Preprocess
from windvane.adapters.transformers_encoders import load_encoder
from windvane.annotate import Annotation, HubEncoder, annotate
from windvane.annotate.dense import HubPatches

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
VISION = {**SMALL, "image_size": 32, "patch_size": 8}
TEXT = {**SMALL, "vocab_size": 50}


def config(kind):
    import transformers as hf

    if kind == "dinov2":
        return hf.Dinov2Config(**{**SMALL, "mlp_ratio": 2}, image_size=28, patch_size=14)
    if kind == "dinov3":
        return hf.DINOv3ViTConfig(**VISION, num_register_tokens=2)
    if kind == "vit":
        return hf.ViTConfig(**VISION)
    if kind == "mae":
        decoder = {f"decoder_{key}": value for key, value in SMALL.items()}
        return hf.ViTMAEConfig(**VISION, **decoder, mask_ratio=0.75)
    if kind == "clip":
        return hf.CLIPConfig(vision_config=VISION, text_config=TEXT, projection_dim=8)
    if kind == "siglip":
        return hf.SiglipConfig(vision_config=VISION, text_config=TEXT)
    return hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")


PROCESSORS = {
    "dinov2": (
        "BitImageProcessor",
        {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}},
    ),
    "vit": ("ViTImageProcessor", {"size": {"height": 32, "width": 32}}),
    "clip": ("CLIPImageProcessor", {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}),
}
KINDS = ["dinov2", "dinov3", "vit", "mae", "clip", "siglip", "resnet"]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A function that gives the folder of a tiny model with fixed random weights."""
    root = tmp_path_factory.mktemp("models")

    def make(kind, processor=False):
        import transformers as hf

        folder = root / f"{kind}-{processor}"
        if not folder.exists():
            model = hf.AutoModel.from_config(config(kind))
            numbers = torch.Generator().manual_seed(0)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.normal_(0, 0.3, generator=numbers)
            model.save_pretrained(folder)
            if processor:
                name, settings = PROCESSORS[kind]
                getattr(hf, name)(**settings).save_pretrained(folder)
        return folder

    return make


def pictures(n=2, channels=3, height=40, width=52, seed=0):
    """Smooth 8-bit pictures without black or white, and the same in [-1, 1]."""
    coarse = torch.rand(n, channels, 6, 7, generator=torch.Generator().manual_seed(seed)) * 130 + 60
    bytes_ = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").round().byte()
    return bytes_, bytes_.float() / 127.5 - 1


@pytest.mark.parametrize("kind", sorted(PROCESSORS))
@pytest.mark.parametrize("shape", [(40, 52), (20, 16), (64, 64)])
def test_preprocessing_equals_the_image_processors(kind, shape, model_folder):
    import transformers as hf

    folder = model_folder(kind, processor=True)
    bytes_, images = pictures(height=shape[0], width=shape[1])
    processor = hf.AutoImageProcessor.from_pretrained(folder)
    theirs = processor(list(bytes_.permute(0, 2, 3, 1).numpy()), return_tensors="pt")["pixel_values"]
    ours = load_encoder(folder).preprocess(images)
    # The processor rounds to 8 bits twice (once per axis), we do not.
    step = 1 / 255 / min(load_encoder(folder).preprocess.std)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 1.6 * step
    assert (ours - theirs).abs().mean() < 0.5 * step


def test_small_images_are_padded_like_the_processor():
    from transformers import CLIPImageProcessor

    named = {"do_resize": False, "crop_size": {"height": 9, "width": 8}}
    processor = CLIPImageProcessor(**named)
    bytes_, images = pictures(height=6, width=11)
    theirs = processor(list(bytes_.permute(0, 2, 3, 1).numpy()), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(
        Preprocess.from_settings(processor.to_dict(), 32)(images), theirs, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_gives_features_and_gradients_to_grey_pixels(kind, model_folder):
    encoder = HubEncoder(model_folder(kind), pool="mean")
    _, images = pictures(channels=1)
    images.requires_grad_()
    features = encoder(images)
    features.square().sum().backward()
    assert features.shape == (2, encoder.dim) and (features[0] - features[1]).abs().max() > 1e-3
    # Every pixel counts, except those the centre crop removes.
    assert (images.grad.abs().sum(dim=(0, 1)) > 0).float().mean() > 0.7
    torch.testing.assert_close(encoder(images[1:]), features[1:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["dinov2", "vit", "clip"])
def test_pools_are_those_of_the_model(kind, model_folder):
    import transformers as hf

    folder = model_folder(kind, processor=True)
    _, images = pictures()
    encoder = HubEncoder(folder)
    model = hf.AutoModel.from_pretrained(folder).eval()
    model = getattr(model, "vision_model", model)
    with torch.no_grad():
        out = model(pixel_values=encoder.encoder.preprocess(images))
        torch.testing.assert_close(encoder(images), out.last_hidden_state[:, 0])
        torch.testing.assert_close(
            HubEncoder(folder, pool="mean")(images), out.last_hidden_state[:, 1:].mean(1)
        )
        torch.testing.assert_close(HubEncoder(folder, pool="pooler")(images), out.pooler_output)


def test_registers_are_no_patches(model_folder):
    encoder = load_encoder(model_folder("dinov3"))
    _, images = pictures()
    tokens, _ = encoder(images)
    assert encoder.prefix(images, tokens) == 3
    torch.testing.assert_close(encoder.pool(images, "mean"), tokens[:, 3:].mean(dim=1))


def test_a_masked_autoencoder_sees_the_whole_image_in_order(model_folder):
    import transformers as hf

    folder = model_folder("mae")
    encoder = load_encoder(folder)
    _, images = pictures(n=3)
    tokens, _ = encoder(images)
    assert tokens.shape[1] == 1 + 16
    again, _ = encoder(images)
    assert torch.equal(tokens, again)
    # The same weights without any masking machinery: embeddings with positions, then the layers.
    model = hf.ViTMAEModel.from_pretrained(folder, mask_ratio=0.0).eval()
    with torch.no_grad():
        pixels = encoder.preprocess(images)
        h = model.embeddings.patch_embeddings(pixels) + model.embeddings.position_embeddings[:, 1:]
        cls = model.embeddings.cls_token + model.embeddings.position_embeddings[:, :1]
        h = torch.cat([cls.expand(3, -1, -1), h], dim=1)
        for layer in model.layers:
            out = layer(h)
            h = out[0] if isinstance(out, tuple) else out
        torch.testing.assert_close(tokens, model.layernorm(h), atol=1e-5, rtol=1e-5)


def test_size_takes_the_whole_short_side(model_folder):
    encoder = HubEncoder(model_folder("dinov2", processor=True), size=42)
    _, images = pictures(height=30, width=30)
    assert encoder.encoder.preprocess(images).shape == (2, 3, 42, 42)
    changed = images.clone()
    changed[:, :, 0, :] = 1
    assert (encoder(changed) - encoder(images)).abs().max() > 1e-4
    cropped = HubEncoder(model_folder("dinov2", processor=True))
    assert encoder.name != cropped.name


def test_without_a_processor_file_the_familys_defaults_hold(model_folder):
    assert load_encoder(model_folder("clip")).preprocess.mean[0] == pytest.approx(0.48145466)
    assert load_encoder(model_folder("vit")).preprocess.mean == (0.5, 0.5, 0.5)
    dino = load_encoder(model_folder("dinov2")).preprocess
    assert dino.mean == (0.485, 0.456, 0.406) and dino.resize == 28


@pytest.mark.parametrize(
    ("kind", "pool", "message"),
    [
        ("siglip", "cls", "no CLS token; use pool='mean' or pool='pooler'"),
        ("mae", "pooler", "no pooled output"),
        ("vit", "max", "cls, mean, pooler"),
    ],
)
def test_a_pool_the_model_lacks_is_refused(kind, pool, message, model_folder):
    with pytest.raises(ValueError, match=message):
        HubEncoder(model_folder(kind), pool=pool)


@pytest.fixture(scope="module")
def without_pooler(tmp_path_factory, model_folder):
    """The usual conversion of DINO: a ViT whose files have no pooler."""
    import transformers as hf

    folder = tmp_path_factory.mktemp("models") / "dino"
    hf.ViTModel.from_pretrained(model_folder("vit"), add_pooling_layer=False).save_pretrained(folder)
    return folder


def test_a_pooler_that_is_not_in_the_files_is_not_made_up(without_pooler, model_folder):
    """It would be another one at every load, and with it the version of the features."""
    torch.manual_seed(1)  # transformers draws missing weights from the global generator
    first = HubEncoder(without_pooler)
    patches = HubPatches(without_pooler)
    torch.manual_seed(2)
    assert HubEncoder(without_pooler).name == first.name
    assert HubPatches(without_pooler).name == patches.name
    assert not [key for key in first.encoder.model.state_dict() if "pooler" in key]
    _, images = pictures()
    assert torch.equal(first(images), HubEncoder(model_folder("vit"))(images))
    with pytest.raises(ValueError, match="has no pooled output; use pool='cls' or pool='mean'"):
        HubEncoder(without_pooler, pool="pooler")


def test_annotations_of_such_features_are_found_again(without_pooler, tmp_path):
    images = TensorImages(pictures(n=8)[1])
    made = annotate(images, features=HubEncoder(without_pooler), k=2, cache=tmp_path / "c", progress=False)
    made.save(tmp_path / "a")
    again = Annotation.load(tmp_path / "a")
    assert torch.equal(again(images.images), made.ids)
    annotate(images, features=HubEncoder(without_pooler), k=2, cache=tmp_path / "c", progress=False)
    assert len(list((tmp_path / "c").glob("annotation-*"))) == 1


@pytest.mark.parametrize(
    ("kind", "lost", "message"),
    [
        ("vit", "encoder.layer.1", "no weights for .*layers?.1.*, which would be random"),
        ("clip", "vision_model.encoder.layers.1", "no weights for encoder.layers.1"),
        ("clip", "text_model", None),
    ],
)
def test_other_weights_that_are_missing_are_refused(kind, lost, message, model_folder, tmp_path):
    """Those of a text tower are no matter: it has no part in image features."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(model_folder(kind), tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    state = load_file(file)
    kept = {key: value for key, value in state.items() if lost not in key}
    assert len(kept) < len(state)
    save_file(kept, file, metadata={"format": "pt"})
    if message is None:
        assert HubEncoder(tmp_path / "model").name == HubEncoder(tmp_path / "model").name
        return
    with pytest.raises(ValueError, match=message):
        HubEncoder(tmp_path / "model")


def test_a_missing_model_names_the_offline_choices(tmp_path):
    with pytest.raises(ValueError, match="'pixels', 'pca' or 'selfsup'.*local folder"):
        HubEncoder("hub:facebook/dinov2-small", offline=True)
    with pytest.raises(ValueError, match="cannot load the encoder"):
        HubEncoder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="cannot load the encoder"):
        HubEncoder(tmp_path)


@pytest.mark.parametrize("kind", [HubEncoder, HubPatches], ids=lambda kind: kind.__name__)
def test_a_folder_may_be_named_either_way(kind, model_folder):
    folder = model_folder("vit")
    assert kind(f"hub:{folder}").name == kind(folder).name


def test_licences_come_from_the_models_card(model_folder, tmp_path):
    assert load_encoder(model_folder("vit")).licence.startswith("unknown")
    import shutil

    shutil.copytree(model_folder("vit"), tmp_path / "vit")
    (tmp_path / "vit" / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert HubEncoder(tmp_path / "vit").licence == "apache-2.0"


def test_loading_leaves_grad_mode_and_the_librarys_logging_alone(model_folder):
    from transformers.utils import logging

    before = logging.get_verbosity()
    load_encoder(model_folder("vit"))
    assert torch.is_grad_enabled() and logging.get_verbosity() == before


def test_an_annotation_finds_its_encoder_again_when_it_is_needed(model_folder, tmp_path):
    folder = model_folder("dinov2", processor=True)
    data = TensorImages(pictures(n=20, height=20, width=20)[1])
    made = annotate(data, features=f"hub:{folder}", k=3, progress=False)
    made.save(tmp_path / "a")
    loaded = Annotation.load(tmp_path / "a", data=data)
    assert torch.equal(loaded(data.images), made.ids)
    described = json.loads((tmp_path / "a" / "annotation.json").read_text())
    assert described["signals"]["vector"]["extractor"]["kind"] == "encoder"


def test_what_a_bicubic_resize_overshoots_is_clipped_before_the_statistics():
    edge = torch.ones(1, 3, 6, 6)
    edge[..., :3] = -1
    settings = {"resize": 24, "mean": (0.4,) * 3, "std": (0.2,) * 3}
    free, kept = Preprocess(**settings, clip=False)(edge), Preprocess(**settings)(edge)
    low, high = -0.4 / 0.2, 0.6 / 0.2
    assert free.min() < low - 0.1 and free.max() > high + 0.1
    torch.testing.assert_close(kept, free.clamp(low, high))


def test_the_gradient_passes_where_the_clip_acts():
    """Forward the same as a clamp, to the bit; backward as if there were none."""
    x = (4 * torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))).requires_grad_(True)
    made = Preprocess(None, mean=(0.4,) * 3, std=(0.2,) * 3)
    held = made(x)
    assert torch.equal(held, made(x.detach()))
    assert torch.equal(held, (((x + 1) / 2).clamp(0, 1) - 0.4) / 0.2)
    weight = torch.randn(held.shape, generator=torch.Generator().manual_seed(1))
    (g,) = torch.autograd.grad((weight * held).sum(), x)
    assert bool((x.abs() > 1).any())
    torch.testing.assert_close(g, weight / 2 / 0.2)


def test_unreadable_preprocessing_is_refused():
    with pytest.raises(ValueError, match="resample filter 5"):
        Preprocess.from_settings({"resample": 5}, 32)
    with pytest.raises(ValueError, match="image size"):
        Preprocess.from_settings({"size": {"longest_edge": 3}}, 32)
    with pytest.raises(ValueError, match="1 or 3 channels, got 4"):
        Preprocess(resize=8)(torch.zeros(1, 4, 8, 8))
    assert np.isclose(Preprocess.from_settings({"do_rescale": False}, 32).scale, 255)
