"""Dense extractors: what each vector is, where it lies, and that it depends on its image alone."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tests.adapters.test_transformers_encoders import model_folder  # noqa: F401
from tests.annotate.stand_ins import TensorImages, digit_images, noise_images
from windvane.annotate import DenoiserFeatures, SelfSup, find_boxes
from windvane.annotate.dense import (
    DenoiserMaps,
    EncoderMaps,
    HubPatches,
    Patches,
    Restoration,
    dense_batches,
    patch_counts,
    sample_vectors,
    to_pixels,
)
from windvane.annotate.dense.dense_by_name import dense_features
from windvane.annotate.dense.pasted_pieces import paste
from windvane.annotate.dense.restoration import contrast
from windvane.annotate.features.extractor_storage import load_extractor, save_extractor
from windvane.annotate.regions.boxes import PatchGrid
from windvane.annotate.work import Work
from windvane.denoiser import NetworkDenoiser
from windvane.networks import ConditionedUNet, ResidualMLP
from windvane.process import VPCosine


def colours(n=3, shape=(3, 12, 10), seed=0):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def restoration():
    return Restoration(width=8, steps=3, batch=8).fit(digit_images(40), progress=False)


@pytest.fixture(scope="module")
def encoder():
    return SelfSup(dim=8, width=8, steps=2, batch=8).fit(noise_images(12, (1, 20, 20)), progress=False)


@given(st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_a_patch_holds_the_pixels_its_grid_says(size, stride, pad):
    if stride > size:
        return
    images = colours(2, (2, 9, 8))
    extractor = Patches(size, stride, channels=2, pad=pad)
    maps = extractor(images)
    assert maps.shape[1:] == (extractor.dim, *patch_counts(extractor.grid, (9, 8)))
    margin = (size - stride) // 2 if pad else 0
    for i in range(maps.shape[2]):
        for j in range(maps.shape[3]):
            top, left = i * stride - margin, j * stride - margin
            if top < 0 or left < 0 or top + size > 9 or left + size > 8:
                continue
            window = images[:, :, top : top + size, left : left + size]
            torch.testing.assert_close(maps[:, :, i, j], window.flatten(1))


def test_centred_patches_sum_to_zero_in_every_image():
    maps = Patches(3, channels=3, centre=True)(colours())
    torch.testing.assert_close(maps.sum(dim=(2, 3)), torch.zeros(3, 27), atol=1e-4, rtol=0)


def test_pixels_between_patch_centres_are_interpolated():
    maps = colours(2, (5, 4, 6))
    torch.testing.assert_close(
        to_pixels(maps, PatchGrid(3, 3), (12, 18)),
        F.interpolate(maps, size=(12, 18), mode="bilinear", align_corners=False),
    )
    # A ramp over the centres of overlapping patches stays a ramp on the pixels between them.
    grid = PatchGrid(4, 2)
    centres = torch.arange(7).float() * 2 + 2 - 0.5
    ramp = to_pixels(centres.expand(1, 1, 7, 7), grid, (16, 16))[0, 0]
    torch.testing.assert_close(ramp[3, 2:14], torch.arange(2, 14).float())


@given(st.integers(1, 4), st.integers(1, 4), st.integers(4, 15), st.integers(4, 13), st.integers(0, 10**6))
def test_nearest_pixels_of_a_box_of_patches_fill_its_box_of_pixels(size, stride, height, width, seed):
    if stride > size:
        return
    grid = PatchGrid(size, stride)
    h, w = patch_counts(grid, (height, width))
    numbers = torch.Generator().manual_seed(seed)
    left, top = (int(torch.randint(n, (), generator=numbers)) for n in (w, h))
    right = left + 1 + int(torch.randint(w - left, (), generator=numbers))
    bottom = top + 1 + int(torch.randint(h - top, (), generator=numbers))
    patches = torch.zeros(1, 1, h, w)
    patches[:, :, top:bottom, left:right] = 1
    pixels = to_pixels(patches, grid, (height, width), mode="nearest")[0, 0] > 0
    x0, y0, x1, y1 = grid.to_pixels(torch.tensor([[left, top, right, bottom]]), (height, width))[0].tolist()
    expected = torch.zeros(height, width, dtype=torch.bool)
    expected[y0:y1, x0:x1] = True
    assert torch.equal(pixels, expected)


def test_maps_of_another_grid_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        to_pixels(torch.zeros(1, 1, 3, 3), PatchGrid(2, 2), (8, 8))


def test_vectors_come_evenly_from_every_image():
    data = noise_images(5, (1, 6, 6))
    drawn = sample_vectors(Patches(1), data, 20, seed=3, batch_size=2, progress=False)
    assert drawn.shape == (20, 1)
    for i in range(5):
        own = data.images[i].flatten()
        assert all((own == value).any() for value in drawn[4 * i : 4 * i + 4, 0])
    everything = sample_vectors(Patches(1), data, 10_000, progress=False)
    torch.testing.assert_close(everything[:, 0], data.images.flatten())
    again = sample_vectors(Patches(1), data, 20, seed=3, batch_size=5, progress=False)
    assert torch.equal(again, drawn)


def test_broken_extractors_are_named():
    class Broken(Patches):
        def __call__(self, images):
            return super().__call__(images) * torch.nan

    with pytest.raises(ValueError, match="not finite for image 0"):
        list(dense_batches(Broken(2), noise_images(3), progress=False))
    with pytest.raises(ValueError, match="smaller than one patch"):
        list(dense_batches(Patches(9, pad=False), noise_images(3), progress=False))


def test_encoder_maps_are_the_encoders_own(encoder):
    images = noise_images(2, (1, 20, 20), seed=4).images
    trunk = list(encoder.encoder.trunk)
    stem = EncoderMaps(encoder, level=0)
    assert (stem.grid.stride, stem.dim) == (2, 8)
    torch.testing.assert_close(stem(images), trunk[0](images))
    second = EncoderMaps(encoder, level=1)
    assert (second.grid.stride, second.dim) == (4, 16)
    expected = torch.nn.Sequential(*trunk[:5])(F.pad(images, (0, 1, 0, 1), mode="replicate")[:, :, 1:, 1:])
    torch.testing.assert_close(second(images), expected[:, :, :5, :5])
    assert EncoderMaps(encoder).level == 0
    with pytest.raises(ValueError, match=r"0\.\.1"):
        EncoderMaps(encoder, level=3)


def test_encoder_maps_look_at_the_centre_of_their_cell(encoder):
    """Where an image changes at one pixel, the features change most in the cell that holds the pixel."""
    maps = EncoderMaps(encoder, level=1)
    plain = torch.zeros(1, 1, 20, 20)
    for y, x in [(5, 6), (10, 13), (9, 9)]:
        dotted = plain.clone()
        dotted[..., y - 1 : y + 2, x - 1 : x + 2] = 1
        before, after = (halving_alone(maps, v) for v in (plain, dotted))
        moved = (after - before).square().sum(dim=1)[0]
        at = divmod(int(moved.argmax()), moved.shape[1])
        assert at == (y // 4, x // 4)


def halving_alone(maps, images):
    """Where the convolutions before the residual block look, which looks wide on all sides alike."""
    layers = list(maps._layers)[:-1]
    shift = (maps.grid.stride - 1) // 2
    x = F.pad(images, (0, shift, 0, shift), mode="replicate")[:, :, shift:, shift:]
    for layer in layers:
        x = layer(x).abs() if isinstance(layer, torch.nn.Conv2d) else x
    return x


def test_denoiser_maps_average_to_the_denoisers_features():
    denoiser = NetworkDenoiser(small_unet(), VPCosine(), parametrisation="v", shape=(1, 16, 16))
    features = DenoiserFeatures(denoiser, t=0.2, draws=2)
    dense = DenoiserMaps(features)
    images = noise_images(3, (1, 16, 16)).images
    with torch.no_grad():
        torch.testing.assert_close(dense(images).mean(dim=(2, 3)), features(images))
    h, w = dense(images).shape[-2:]
    assert (h * dense.grid.stride, w * dense.grid.stride) == (16, 16)
    assert dense.dim == features.dim and features.name in dense.name


def small_unet():
    from diffusers import UNet2DModel

    unet = UNet2DModel(
        sample_size=16,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    return ConditionedUNet(unet)


def test_a_denoiser_without_positions_is_refused():
    network = ResidualMLP(64, width=16, blocks=3, shape=(1, 8, 8))
    denoiser = NetworkDenoiser(network, VPCosine(), parametrisation="v", shape=(1, 8, 8))
    with pytest.raises(ValueError, match="no positions"):
        DenoiserMaps(DenoiserFeatures(denoiser))


@pytest.mark.parametrize("kind", ["dinov2", "vit", "dinov3", "mae"])
def test_hub_patches_are_the_last_layers_keys(kind, model_folder):  # noqa: F811
    import transformers as hf

    folder = model_folder(kind)
    patch = 14 if kind == "dinov2" else 8
    images = colours(2, (3, 3 * patch + 1, 2 * patch + 5))
    extractor = HubPatches(folder)
    assert extractor.grid == PatchGrid(patch, patch)
    found = extractor(images)
    assert found.shape == (2, 16, 3, 2)
    # The same by hand: attention input of the last layer through its key projection, prefix dropped.
    model = hf.AutoModel.from_pretrained(folder).eval()
    if kind == "mae":
        model.config.mask_ratio = 0.0
    keys = [part for name, part in model.named_modules() if name.endswith("k_proj")]
    seen = []
    keys[-1].register_forward_hook(lambda module, args, output: seen.append(output))
    pixels = extractor.encoder.preprocess(images[:, :, : 3 * patch, : 2 * patch])
    named = {} if kind in ("dinov2", "dinov3") else {"interpolate_pos_encoding": True}
    if kind == "mae":
        named["noise"] = torch.arange(6.0).expand(2, -1)
    with torch.no_grad():
        model(pixel_values=pixels, **named)
    prefix = 3 if kind == "dinov3" else 1
    by_hand = seen[0][:, prefix:]
    for p in range(6):
        torch.testing.assert_close(found[:, :, p // 2, p % 2], by_hand[:, p], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [(16, 32), (32, 16), (32, 32)])
def test_hub_patches_of_images_that_are_not_square(shape, model_folder):  # noqa: F811
    """The network was made for 32 x 32; one side of that length must not hide that the other differs."""
    found = HubPatches(model_folder("vit"))(colours(1, (3, *shape)))
    assert found.shape[-2:] == (shape[0] // 8, shape[1] // 8)


def test_hub_tokens_and_smaller_patches(model_folder):  # noqa: F811
    folder = model_folder("dinov2")
    images = colours(2, (3, 28, 28))
    tokens = HubPatches(folder, facet="token")
    by_hand = tokens.encoder(images)[0][:, 1:]
    torch.testing.assert_close(tokens(images).flatten(2).transpose(1, 2), by_hand)
    fine = HubPatches(folder, enlarge=2)
    assert fine.grid == PatchGrid(7, 7) and fine(images).shape == (2, 16, 4, 4)
    names = {tokens.name, fine.name, HubPatches(folder).name, HubPatches(folder, facet="query").name}
    assert len(names) == 4
    with pytest.raises(ValueError, match="divide the patch size 14"):
        HubPatches(folder, enlarge=3)
    with pytest.raises(ValueError, match="no square patches"):
        HubPatches(model_folder("resnet"))
    with pytest.raises(ValueError, match="no patch of 14"):
        HubPatches(folder)(colours(1, (3, 10, 28)))


def test_pasted_pieces_come_from_other_images_and_nothing_else_changes():
    images = torch.arange(6.0)[:, None, None, None].expand(6, 2, 9, 7)
    numbers = torch.Generator().manual_seed(1)
    out, covered = paste(images, numbers, pieces=3, sizes=(2, 4))
    assert torch.equal(out[~covered.expand_as(out)], images[~covered.expand_as(out)])
    assert (out[covered.expand_as(out)] != images[covered.expand_as(out)]).float().mean() > 0.8
    alone, one = paste(images, numbers, pieces=1, sizes=(3, 3))
    assert (one.flatten(1).sum(dim=1) == 9).all() and not (alone == images)[one.expand_as(out)].any()
    assert torch.equal(alone[:, 0], alone[:, 1])
    with pytest.raises(ValueError, match="sides"):
        paste(images, numbers, pieces=1, sizes=(2, 8))


def test_contrast_is_the_distance_from_the_usual_colour():
    images = torch.full((2, 3, 4, 4), -1.0)
    images[1] = 0.5
    images[:, :, 1, 2] = torch.tensor([1.0, 0.0, -1.0])
    expected = torch.zeros(2, 1, 4, 4)
    expected[0, 0, 1, 2] = ((1.0 + 0.25 + 0.0) / 3) ** 0.5
    expected[1, 0, 1, 2] = ((0.0625 + 0.0625 + 0.5625) / 3) ** 0.5
    torch.testing.assert_close(contrast(images), expected)
    torch.testing.assert_close(contrast(-images), contrast(images))


def test_restoration_is_trained_and_repeatable():
    data = digit_images(200)
    first = Restoration(width=8, steps=40, batch=32, seed=1).fit(data, progress=False)
    assert sum(first.losses[-5:]) < 0.7 * sum(first.losses[:5])
    state = torch.get_rng_state()
    again = Restoration(width=8, steps=40, batch=32, seed=1).fit(data, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert again.name == first.name
    assert Restoration(width=8, steps=40, batch=32, seed=2).fit(data, progress=False).name != first.name


def test_restoration_features_by_their_formula(restoration):
    images = digit_images(3).images
    network = restoration.network
    x = images
    for _ in range(restoration.rounds):
        x = network(x).clamp(-1, 1)
    torch.testing.assert_close(restoration(images), network.maps(x) * contrast(images))
    torch.testing.assert_close(restoration.restored(images), x)
    for i in range(3):
        torch.testing.assert_close(restoration(images[i : i + 1])[0], restoration(images)[i])


def test_restoration_survives_a_file(restoration, tmp_path):
    save_extractor(restoration, tmp_path / "kept")
    loaded = load_extractor(tmp_path / "kept", kinds={"restoration": Restoration.restore})
    images = digit_images(2).images
    assert loaded.name == restoration.name
    assert torch.equal(loaded(images), restoration(images))
    damaged = dict(restoration.state())
    damaged.pop("out.bias")
    with pytest.raises(ValueError, match="do not fit"):
        Restoration.restore(restoration.settings(), damaged)


def test_restoration_refuses(restoration):
    with pytest.raises(ValueError, match="fit"):
        _ = Restoration().name
    with pytest.raises(ValueError, match="trained on images of shape"):
        restoration(colours())
    with pytest.raises(ValueError, match="at least 2 images"):
        Restoration().fit(TensorImages(colours(1)))
    with pytest.raises(ValueError, match="largest"):
        Restoration(piece=(0.4, 0.2))


@pytest.mark.parametrize(
    ("kind", "shape", "cell"),
    [("vit", (32, 32), 2), ("vit", (56, 90), 4), ("vit", (9, 9), 1), ("vit", (300, 224), 8)]
    + [("dinov2", (60, 60), 4), ("dinov2", (32, 40), 2)],
)
def test_transformers_see_small_images_enlarged(kind, shape, cell, model_folder):  # noqa: F811
    """Patches of 8 or 14 cover so few pixels of the image that 14 or more lie along its short side."""
    text = f"hub:{model_folder(kind)}"
    found = dense_features(text, TensorImages(torch.zeros(1, 3, *shape)), Work(progress=False))
    assert found.grid == PatchGrid(cell, cell)
    assert found.patch / found.enlarge == cell
    assert min(patch_counts(found.grid, shape)) >= 14 or cell == 1
    if max(shape) < 100:
        assert found(torch.zeros(1, 3, *shape)).shape[-2:] == patch_counts(found.grid, shape)


def test_the_enlargement_is_given_in_the_text(model_folder, tmp_path):  # noqa: F811
    data = TensorImages(torch.zeros(1, 3, 32, 32))
    folder = model_folder("dinov2")
    for text, cell in ((f"hub:{folder}@1", 14), (f"hub:{folder}@3.5", 4), (f"hub:{folder}@14", 1)):
        found = dense_features(text, data, Work(progress=False))
        assert found.grid == PatchGrid(cell, cell)
        assert found.name == HubPatches(folder, enlarge=14 / cell).name
    with pytest.raises(ValueError, match="divide the patch size 14 into whole pixels, got 3; possible: 1, "):
        dense_features(f"hub:{folder}@3", data, Work(progress=False))
    # A folder may be called anything.
    (tmp_path / "model@2").symlink_to(folder)
    found = dense_features(f"hub:{tmp_path / 'model@2'}", data, Work(progress=False))
    assert found.grid == PatchGrid(2, 2)
    with pytest.raises(ValueError, match="one of them"):
        HubPatches(folder, enlarge=2, shape=(32, 32))


def test_too_few_patches_to_find_anything_are_warned_of(model_folder):  # noqa: F811
    data = TensorImages(colours(3, (3, 32, 32)))
    with pytest.warns(UserWarning, match="only 4 patches of 8 pixels"):
        found = find_boxes(data, HubPatches(model_folder("vit")), centre=False, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fine = dense_features(f"hub:{model_folder('vit')}", data, Work(progress=False))
        find_boxes(data, fine, centre=False, progress=False)
    assert (found.boxes % 8 == 0).all()
