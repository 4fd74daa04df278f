import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA as ReferencePCA
from sklearn.linear_model import LogisticRegression

from tests.annotate.stand_ins import Projection, TensorImages, digit_images, noise_images
from windvane.annotate import PCA, Clusters, Module, Pixels, SelfSup, agreement, extract, features_from
from windvane.annotate.features import Augment, load_extractor, nt_xent, save_extractor
from windvane.annotate.features.contrastive import epochs


@pytest.fixture(scope="module")
def digits():
    return digit_images()


@pytest.fixture(scope="module")
def encoder(digits):
    return SelfSup(steps=150, batch=128).fit(digits, progress=False)


@pytest.mark.parametrize("whiten", [False, True])
def test_pca_equals_scikit_learn_up_to_signs(digits, whiten):
    ours = extract(PCA(12, whiten=whiten).fit(digits, progress=False), digits, progress=False).numpy()
    theirs = ReferencePCA(12, whiten=whiten).fit_transform(digits.images.flatten(1).double().numpy())
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=2e-4)


def test_pca_of_many_pixels_takes_the_iterative_path_to_the_same_subspace():
    data = noise_images(300, (3, 16, 16))
    data.images[:, :, :8] += 2 * torch.randn(300, 1, 1, 1, generator=torch.Generator().manual_seed(1))
    data.images[:, 0] *= torch.linspace(0.2, 3, 16)
    ours = PCA(3).fit(data, progress=False).state()["components"].double()
    theirs = torch.tensor(
        ReferencePCA(3, svd_solver="full").fit(data.images.flatten(1).double().numpy()).components_
    )
    cosines = torch.linalg.svdvals(theirs @ ours)
    assert cosines.min() > 0.9999
    assert (ours.gather(0, ours.abs().argmax(dim=0, keepdim=True)) > 0).all()


@pytest.mark.parametrize(("n", "shape"), [(700, (3, 20, 20)), (900, (1, 24, 24)), (20, (3, 16, 16))])
@pytest.mark.parametrize("centre", ["data", "none"])
def test_pca_of_rows_in_memory_is_that_of_summed_products(monkeypatch, n, shape, centre):
    """Flat spectra too, where a randomised method stops short of the leading components."""
    data = noise_images(n, shape)
    data.images += 3
    held = PCA(12, centre=centre, whiten=True).fit(data, progress=False).state()
    again = PCA(12, centre=centre, whiten=True).fit(data, progress=False).state()
    monkeypatch.setattr("windvane.annotate.features.pixels._HELD", 0)
    summed = PCA(12, centre=centre, whiten=True).fit(data, progress=False).state()
    for key in held:
        assert torch.equal(held[key], again[key])
        torch.testing.assert_close(held[key], summed[key], atol=2e-4, rtol=2e-5)


def test_pca_of_equal_images_is_a_constant():
    data = TensorImages(torch.full((600, 3, 16, 16), 0.25))
    assert PCA(4).fit(data, progress=False)(data.images[:9]).abs().max() < 1e-4


def test_the_largest_entry_of_every_component_is_positive(digits):
    components = PCA(20).fit(digits, progress=False).state()["components"]
    assert (components.gather(0, components.abs().argmax(dim=0, keepdim=True)) > 0).all()


def test_centring_per_image_removes_brightness():
    data = digit_images(300)
    extractor = PCA(8, centre="image").fit(data, progress=False)
    torch.testing.assert_close(extractor(data.images + 0.3), extractor(data.images), atol=1e-5, rtol=0)
    plain = PCA(8).fit(data, progress=False)
    assert (plain(data.images + 0.3) - plain(data.images)).abs().max() > 0.1
    assert torch.equal(PCA(8, centre="none").fit(data, progress=False).state()["mean"], torch.zeros(64))


def test_pixels_are_the_pixels():
    data = noise_images(4, (3, 6, 5))
    assert torch.equal(Pixels().fit(data)(data.images), data.images.flatten(1))
    unit = Pixels(centre=True, normalise=True).fit(data)
    torch.testing.assert_close(unit(data.images).norm(dim=1), torch.ones(4))
    torch.testing.assert_close(unit(2 * data.images + 0.1), unit(data.images), atol=1e-5, rtol=0)
    halved = Pixels(size=3).fit(noise_images(4, (1, 6, 6)))
    flat = torch.full((1, 1, 6, 6), 0.25)
    torch.testing.assert_close(halved(flat), torch.full((1, 9), 0.25))
    assert halved.dim == 9


def test_nt_xent_equals_its_formula():
    numbers = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 3, 4, generator=numbers, dtype=torch.float64)
    z = [v / v.norm() for v in [*first, *second]]
    t = 0.3
    expected = []
    for i in range(6):
        partner = (i + 3) % 6
        below = sum(math.exp(float(z[i] @ z[k]) / t) for k in range(6) if k != i)
        expected.append(-math.log(math.exp(float(z[i] @ z[partner]) / t) / below))
    torch.testing.assert_close(nt_xent(first, second, t), torch.tensor(expected, dtype=torch.float64))


def test_epochs_visit_every_image_once_a_pass():
    batches = epochs(12, 4, seed=0)
    passes = [torch.cat([next(batches) for _ in range(3)]) for _ in range(2)]
    assert all(torch.equal(p.sort().values, torch.arange(12)) for p in passes)
    assert not torch.equal(passes[0], passes[1])


def test_views_keep_what_is_switched_off():
    images = noise_images(6, (3, 8, 8)).images
    still = Augment(area=(1, 1), ratio=1, colour=0, grey=0, noise=0)
    torch.testing.assert_close(still(images, torch.Generator().manual_seed(0)), images, atol=1e-5, rtol=0)
    mirrored = Augment(area=(1, 1), ratio=1, colour=0, grey=0, noise=0, flip=True)
    views = mirrored(images, torch.Generator().manual_seed(0))
    kinds = {
        "same"
        if torch.allclose(v, i, atol=1e-5)
        else "mirror"
        if torch.allclose(v, i.flip(-1), atol=1e-5)
        else "?"
        for v, i in zip(views, images)
    }
    assert kinds == {"same", "mirror"}


def test_a_crop_shows_a_part_of_the_image_enlarged():
    # On a horizontal ramp a crop's contrast is its width, and it never leaves the image.
    ramp = torch.linspace(-1, 1, 32).expand(200, 1, 32, 32)
    views = Augment(area=(0.25, 0.25), ratio=1, colour=0, noise=0)(ramp, torch.Generator().manual_seed(0))
    spans = views[:, 0, 5, -1] - views[:, 0, 5, 0]
    torch.testing.assert_close(spans, torch.full((200,), 1.0), atol=0.05, rtol=0)
    assert views.abs().max() <= 1.0001
    assert views[:, 0, 5].mean(dim=1).std() > 0.15


def test_the_learnt_features_know_more_of_the_digits_than_chance(digits, encoder):
    features = extract(encoder, digits, progress=False)
    half = len(digits) // 2
    probe = LogisticRegression(max_iter=200).fit(features[:half], digits.labels[:half])
    assert probe.score(features[half:], digits.labels[half:]) > 0.85
    ids = Clusters(10).fit(features).assign(features)
    assert agreement(ids, digits.labels)["nmi"] > 0.55
    assert sum(encoder.losses[-10:]) < sum(encoder.losses[:10]) * 0.95


def test_training_is_repeatable_and_leaves_the_global_generator_alone(digits):
    before = torch.get_rng_state()
    first, second = (SelfSup(steps=3, batch=16).fit(digits, progress=False) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.name == second.name
    assert SelfSup(steps=3, batch=16, seed=1).fit(digits, progress=False).name != first.name


def test_learnt_features_do_not_depend_on_the_batch(digits, encoder):
    whole = extract(encoder, digit_images(40), batch_size=40, progress=False)
    parts = extract(encoder, digit_images(40), batch_size=3, progress=False)
    torch.testing.assert_close(whole, parts, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 7, 12), (3, 5, 5)])
def test_encoders_train_on_images_of_any_size(shape):
    data = noise_images(10, shape)
    encoder = SelfSup(steps=2, batch=8, width=8, dim=5).fit(data, progress=False)
    features = encoder(data.images)
    assert features.shape == (10, 5) and features.std(dim=0).min() > 1e-4


@pytest.mark.parametrize("make", [lambda: Pixels(size=6), lambda: PCA(5, whiten=True, centre="image"), None])
def test_saved_extractors_come_back_the_same(make, digits, encoder, tmp_path):
    made = encoder if make is None else make().fit(digits, progress=False)
    save_extractor(made, tmp_path / "kept")
    loaded = load_extractor(tmp_path / "kept")
    assert loaded.name == made.name and loaded.dim == made.dim
    assert torch.equal(loaded(digits.images[:9]), made(digits.images[:9]))


def test_saved_extractors_with_other_weights_are_refused(digits, tmp_path):
    from safetensors.torch import load_file, save_file

    save_extractor(PCA(5).fit(digits, progress=False), tmp_path / "kept")
    weights = load_file(tmp_path / "kept" / "extractor.safetensors")
    save_file({**weights, "mean": weights["mean"] + 1}, tmp_path / "kept" / "extractor.safetensors")
    with pytest.raises(ValueError, match="its weights make it pca"):
        load_extractor(tmp_path / "kept")
    (tmp_path / "kept" / "extractor.safetensors").write_bytes(b"short")
    with pytest.raises(ValueError, match="damaged"):
        load_extractor(tmp_path / "kept")
    with pytest.raises(ValueError, match="extractor.json is missing"):
        load_extractor(tmp_path / "nothing")


def test_names_are_versions():
    data, other = digit_images(100), digit_images(150)
    names = [
        PCA(5).fit(data, progress=False).name,
        PCA(6).fit(data, progress=False).name,
        PCA(5, whiten=True).fit(data, progress=False).name,
        PCA(5).fit(other, progress=False).name,
        Pixels().name,
        Pixels(centre=True).name,
        Projection(seed=0).name,
    ]
    assert len(set(names)) == len(names)
    assert PCA(5).fit(data, progress=False).name == names[0]


def test_features_are_computed_once_and_a_damaged_cache_again(tmp_path):
    data, extractor = noise_images(30), Projection()
    first = extract(extractor, data, cache=tmp_path, progress=False)
    assert torch.equal(extract(extractor, data, cache=tmp_path, progress=False), first)
    assert extractor.seen == 30
    assert not torch.equal(extract(Projection(seed=1), data, cache=tmp_path, progress=False), first)
    extract(extractor, noise_images(30, seed=1), cache=tmp_path, progress=False)
    assert extractor.seen == 60
    for file in tmp_path.glob("features-*/shard-*.safetensors"):
        file.write_bytes(file.read_bytes()[:50])
    with pytest.warns(UserWarning, match="damaged"):
        assert torch.equal(extract(extractor, data, cache=tmp_path, progress=False), first)
    assert extractor.seen == 90


def test_a_cache_file_that_holds_other_features_is_not_believed(tmp_path):
    data = noise_images(12)
    extract(Projection(), data, cache=tmp_path, progress=False)
    (mine,) = tmp_path.glob("features-*")
    right = extract(Projection(seed=1), data, cache=tmp_path, progress=False)
    (other,) = set(tmp_path.glob("features-*")) - {mine}
    shard = "shard-00000.safetensors"
    (other / shard).write_bytes((mine / shard).read_bytes())
    with pytest.warns(UserWarning, match="belongs to other features"):
        assert torch.equal(extract(Projection(seed=1), data, cache=tmp_path, progress=False), right)
    (other / "manifest.json").write_bytes((mine / "manifest.json").read_bytes())
    with pytest.warns(UserWarning, match="another version"):
        assert torch.equal(extract(Projection(seed=1), data, cache=tmp_path, progress=False), right)


def test_flipping_makes_features_of_mirror_images_equal():
    data = noise_images(5)
    mirrored = TensorImages(data.images.flip(-1))
    first, second = (extract(Projection(), d, flip=True, progress=False) for d in (data, mirrored))
    torch.testing.assert_close(first, second)
    one_sided = extract(Projection(), data, progress=False)
    assert (one_sided - first).abs().max() > 0.1


def test_features_that_are_not_finite_name_the_image():
    data = noise_images(9)
    data.images[5] = float("nan")
    with pytest.raises(ValueError, match="not finite for image 5"):
        extract(Projection(), data, batch_size=2, progress=False)


def test_any_module_is_an_extractor_and_passes_gradients():
    network = torch.nn.Conv2d(3, 4, 3)
    extractor = Module(
        network, name="conv", dim=4, size=8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), channels=3
    )
    images = noise_images(2, (1, 8, 8)).images.requires_grad_()
    rgb = (images.detach() + 1) / 2
    rgb = (rgb.expand(-1, 3, -1, -1) - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)) / torch.tensor(
        [0.2, 0.3, 0.4]
    ).view(3, 1, 1)
    features = extractor(images)
    torch.testing.assert_close(features, network(rgb).mean(dim=(2, 3)))
    features.sum().backward()
    assert images.grad.abs().sum() > 0
    assert Module(torch.nn.Conv2d(3, 4, 3), name="conv", dim=4).name != extractor.name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PCA(0), "at least 1"),
        (lambda: PCA(centre="mean"), "'data', 'image' or 'none'"),
        (
            lambda: PCA(30).fit(noise_images(20), progress=False),
            "30 components need at least that many images",
        ),
        (lambda: PCA(3)(noise_images(2).images), "call .fit"),
        (lambda: PCA(3).fit(noise_images(9), progress=False)(torch.zeros(1, 1, 4, 4)), "fitted on 64"),
        (lambda: SelfSup(width=12), "multiple of 8"),
        (lambda: SelfSup()(torch.zeros(1, 1, 8, 8)), "not trained yet"),
        (lambda: SelfSup(steps=1).fit(noise_images(1)), "at least 2 images"),
        (lambda: Augment(area=(0, 1)), "0 < area"),
        (lambda: features_from("resnet"), "unknown features 'resnet'; known: 'pixels'"),
        (lambda: features_from("pca:many"), "pca:COMPONENTS"),
        (lambda: extract(Projection(), noise_images(0), progress=False), "no images"),
    ],
)
def test_wrong_requests_are_refused_with_the_reason(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_texts_name_extractors():
    assert features_from("pca:7").dim == 7
    assert features_from("selfsup:9", seed=4).recipe == SelfSup(steps=9, seed=4).recipe
