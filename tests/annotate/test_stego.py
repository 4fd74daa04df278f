"""STEGO: the loss against its formula written out, its pairs, its probe, and training on planted kinds."""

import math
import warnings

import pytest
import torch
import torch.nn.functional as F

from tests.annotate.stand_ins import TensorImages, noise_images
from windvane.annotate.dense import Patches
from windvane.annotate.regions.masks import DenseCRF, Stego, pair_loss, segment, stego_loss
from windvane.annotate.regions.masks.correspondence import (
    ClusterProbe,
    CodeHead,
    centred,
    correlation,
    sample_at,
)
from windvane.annotate.regions.masks.stego_training import derangement, nearest_images
from windvane.metrics.segmentation import mean_iou

PIXELS = Patches(1, channels=6)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def plain_pair_loss(f1, f2, c1, c2, shift):
    """The formula of the paper with loops over images and positions."""
    images, positions, partners = f1.shape[0], f1.shape[2], f2.shape[2]
    correlations = [
        [
            [cosine(f1[b, :, p].tolist(), f2[b, :, q].tolist()) for q in range(partners)]
            for p in range(positions)
        ]
        for b in range(images)
    ]
    everything = [x for image in correlations for row in image for x in row]
    overall = sum(everything) / len(everything)
    total = 0.0
    for b in range(images):
        for p in range(positions):
            over_second = sum(correlations[b][p]) / partners
            for q in range(partners):
                centred = correlations[b][p][q] - over_second + overall
                code = cosine(c1[b, :, p].tolist(), c2[b, :, q].tolist())
                total -= (centred - shift) * max(code, 0.0)
    return total / (images * positions * partners)


def test_pair_loss_is_its_formula():
    f1, f2, c1, c2 = (
        random(3, 4, 5),
        random(3, 4, 6, seed=1),
        random(3, 2, 5, seed=2),
        random(3, 2, 6, seed=3),
    )
    expected = plain_pair_loss(f1, f2, c1, c2, 0.3)
    assert float(pair_loss((f1, f2), (c1, c2), 0.3)) == pytest.approx(expected, abs=1e-12)


def test_the_balanced_shift_draws_together_as_much_as_it_pushes_apart():
    f, c = (random(3, 4, 5), random(3, 4, 6, seed=1)), (random(3, 2, 5, seed=2), random(3, 2, 6, seed=3))
    mean = float(centred(correlation(*f)).mean())
    expected = plain_pair_loss(*f, *c, mean)
    assert float(pair_loss(f, c, None)) == pytest.approx(expected, abs=1e-12)
    # One code for everything then gains nothing, whereas with a shift below all correlations it is the best.
    alike = torch.ones(3, 2, 5, dtype=torch.float64), torch.ones(3, 2, 6, dtype=torch.float64)
    assert float(pair_loss(f, alike, None)) == pytest.approx(0, abs=1e-12)
    assert float(pair_loss(f, alike, mean - 0.3)) == pytest.approx(-0.3, abs=1e-12)


def test_no_gradient_goes_to_the_features_or_below_the_clamp():
    f = random(1, 3, 2).requires_grad_()
    # Codes of the two positions are opposite: their correlation is clamped, only the diagonal counts.
    c = torch.tensor([[[1.0, -1.0], [0.5, -0.5]]], dtype=torch.float64, requires_grad=True)
    pair_loss((f, f), (c, c), 0.1).backward()
    assert f.grad is None
    torch.testing.assert_close(c.grad, torch.zeros_like(c), atol=1e-12, rtol=0)


def test_three_kinds_of_pairs_with_their_weights_and_shifts():
    features, codes = random(4, 3, 5, 6), random(4, 2, 5, 6, seed=1)
    near = random(4, 3, 5, 6, seed=2), random(4, 2, 5, 6, seed=3)
    places = torch.rand(2, 4, 7, 2, generator=torch.Generator().manual_seed(5)).double() * 2 - 1
    others = [torch.tensor([1, 2, 3, 0]), torch.tensor([2, 3, 0, 1])]
    here, there = places
    f, c = sample_at(features, here), sample_at(codes, here)

    def plain(f2, c2, shift):
        return plain_pair_loss(f, f2, c, c2, shift)

    expected = 0.67 * plain(f, c, 0.18)
    expected += 0.25 * plain(sample_at(near[0], there), sample_at(near[1], there), 0.12)
    for rows in others:
        partners = (sample_at(maps, there)[rows] for maps in (features, codes))
        expected += 0.63 / 2 * plain(*partners, 0.46)
    found = stego_loss(features, codes, near, others, (here, there))
    assert float(found) == pytest.approx(float(expected), abs=1e-12)


def test_places_are_read_bilinearly_between_patch_centres():
    maps = torch.arange(12.0).reshape(1, 1, 3, 4)
    places = torch.tensor([[[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0], [1 / 3, -1.0]]])
    torch.testing.assert_close(sample_at(maps, places)[0, 0], torch.tensor([0.0, 11.0, 5.5, 2.0]))


def test_the_head_adds_a_linear_and_a_curved_part():
    head = CodeHead(3, 2)
    x = random(2, 3, 4, 5).float()
    flat = x.movedim(1, -1)

    def linear(part, values):
        return values @ part.weight[:, :, 0, 0].T + part.bias

    curved = linear(head.curved[2], linear(head.curved[0], flat).relu())
    torch.testing.assert_close(head(x), (linear(head.linear, flat) + curved).movedim(-1, 1))


def test_the_probe_pulls_the_nearest_centre_alone():
    probe = ClusterProbe(2, 2)
    probe.centres.data = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    codes = torch.tensor([[1.0, 0.2]], requires_grad=True)
    loss = probe.loss(codes)
    assert loss.item() == pytest.approx(-1 / math.sqrt(1.04))
    loss.backward()
    assert codes.grad is None and probe.centres.grad[1].abs().max() == 0 and probe.centres.grad[0, 1] < 0
    logits = probe.log_probabilities(codes)
    assert (logits[0, 0] - logits[0, 1]).item() == pytest.approx(2 * (1 - 0.2) / math.sqrt(1.04))


def test_neighbours_and_partners_are_other_images():
    means = random(9, 4)
    near = nearest_images(means, 3)
    units = F.normalize(means, dim=1)
    for i in range(9):
        order = (units @ units[i]).argsort(descending=True).tolist()
        order.remove(i)
        assert near[i].tolist() == order[:3]
    for seed in range(20):
        order = derangement(5, torch.Generator().manual_seed(seed))
        assert sorted(order.tolist()) == list(range(5)) and not (order == torch.arange(5)).any()


def planted(n=40, seed=0):
    """Pixels of three kinds, vectors of 6 channels with noise, in vertical stripes of random widths."""
    numbers = torch.Generator().manual_seed(seed)
    kinds = torch.tensor([[1.0, 0, 0, 0.5, 0.5, 0], [0, 1, 0, 0.5, 0, 0.5], [0, 0, 1, 0, 0.5, 0.5]])
    masks = torch.zeros(n, 12, 12, dtype=torch.int64)
    for mask in masks:
        edge = torch.randint(2, 5, (2,), generator=numbers).cumsum(0).tolist()
        order = torch.randperm(3, generator=numbers)
        mask[:] = order[0]
        mask[:, edge[0] : edge[1]], mask[:, edge[1] :] = order[1], order[2]
    images = kinds[masks].movedim(-1, 1)
    return TensorImages(images + 0.25 * torch.randn(images.shape, generator=numbers)), masks


@pytest.fixture(scope="module")
def trained():
    data, masks = planted()
    settings = {"codes": 8, "steps": 60, "probe_steps": 20, "batch": 16, "learning_rate": 5e-3, "points": 5}
    return Stego(PIXELS, 3, flip=False, seed=1, **settings).fit(data, progress=False), data, masks


def test_training_separates_what_the_features_separate(trained):
    stego, data, masks = trained
    assert sum(stego.losses[-5:]) < sum(stego.losses[:5])
    assert mean_iou(segment(stego, data, progress=False), masks).value > 0.9


class Offset:
    """Pixels beside a large constant: all correlations are near 1, as those of small networks' features."""

    name, dim, grid = "offset", 7, PIXELS.grid

    def __call__(self, images):
        return torch.cat([PIXELS(images), torch.full_like(images[:, :1], 4.0)], dim=1)


def test_features_that_all_correlate_collapse_with_published_shifts_and_not_with_balanced_ones():
    data, masks = planted()
    settings = {"codes": 8, "steps": 60, "probe_steps": 20, "batch": 16, "learning_rate": 5e-3, "points": 5}
    made = Stego(Offset(), 3, flip=False, seed=1, **settings).fit(data, progress=False)
    assert mean_iou(segment(made, data, progress=False), masks).value > 0.8
    published = Stego(Offset(), 3, flip=False, seed=1, shifts="published", **{**settings, "steps": 300})
    published.fit(data, progress=False)
    assert mean_iou(segment(published, data, progress=False), masks).value < 0.6


def test_training_is_repeatable_and_seeds_nothing(trained):
    stego, data, _ = trained
    state = torch.get_rng_state()
    named = {key: value for key, value in stego.settings().items() if key not in ("extractor", "crf")}
    again = Stego(PIXELS, **named).fit(data, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert again.name == stego.name
    assert Stego(PIXELS, **{**named, "seed": 2}).fit(data, progress=False).name != stego.name


def test_masks_do_not_depend_on_the_batch(trained):
    stego, data, _ = trained
    together = segment(stego, data, progress=False)
    assert torch.equal(segment(stego, data, batch_size=7, progress=False), together)
    assert together[together == 0].numel() > 0 and together.max() == 2


def test_codes_are_averaged_over_the_mirror_image():
    """Patches of three pixels see left and right, so the code of the mirror image is another one."""
    data, _ = planted(12)
    settings = {"codes": 5, "steps": 3, "probe_steps": 2, "batch": 8, "points": 3, "lift": 0.5}
    patches = Patches(3, channels=6)
    plain = Stego(patches, 3, flip=False, seed=1, **settings).fit(data, progress=False)
    both = Stego.restore({**plain.settings(), "flip": True}, plain.state(), patches)
    images = data.images[:3]
    mirrored = plain.code(images.flip(-1)).flip(-1)
    assert (plain.code(images) - mirrored).abs().max() > 0.1
    torch.testing.assert_close(both.code(images), (plain.code(images) + mirrored) / 2)
    torch.testing.assert_close(both.code(images), both.code(images.flip(-1)).flip(-1))
    torch.testing.assert_close(both.log_probabilities(images).exp().sum(dim=1), torch.ones(3, 12, 12))
    assert torch.equal(both(images.flip(-1)).flip(-1), both(images))
    assert not torch.equal(plain(images.flip(-1)).flip(-1), plain(images))


def test_a_crf_is_given_the_images_that_the_scores_are_of(trained, monkeypatch):
    """Also from the second part on, where maps on pixels are too large for one."""
    from windvane.annotate.regions.masks import segmenter

    stego, data, _ = trained
    images, given = data.images[:5], []

    def crf(pictures, scores):
        given.append((pictures, scores))
        return scores

    monkeypatch.setattr(stego, "crf", crf)
    for size in (1, 2):
        given.clear()
        per_image = 4 * stego.codes * images.shape[-2] * images.shape[-1]
        monkeypatch.setattr(segmenter, "PIXEL_BYTES", size * per_image)
        stego(images)
        assert [len(pictures) for pictures, _ in given] == ([1] * 5 if size == 1 else [2, 2, 1])
        assert torch.equal(torch.cat([pictures for pictures, _ in given]), images)
        torch.testing.assert_close(
            torch.cat([scores for _, scores in given]), stego.log_probabilities(images)
        )


def test_the_mirror_image_is_cut_where_the_patches_end():
    """Else, where patches do not divide the width, codes of different pixels would be averaged."""
    data, _ = planted(12)
    settings = {"codes": 5, "steps": 3, "probe_steps": 2, "batch": 8, "points": 3}
    whole, overlapping = Patches(5, 5, channels=6, pad=False), Patches(4, 3, channels=6, pad=False)
    for extractor, covered in ((whole, 10), (overlapping, 10), (Patches(3, channels=6), 12)):
        plain = Stego(extractor, 3, flip=False, seed=1, **settings).fit(data, progress=False)
        both = Stego.restore({**plain.settings(), "flip": True}, plain.state(), extractor)
        images = data.images[:3]
        cut = images[..., :covered]
        mirrored = plain.code(cut.flip(-1)).flip(-1)
        torch.testing.assert_close(both.code(images), (plain.code(images) + mirrored) / 2)
        torch.testing.assert_close(both.code(images), both.code(cut))


def test_what_only_use_depends_on_learns_nothing_new(tmp_path):
    """A head is kept once, whether the mirror image is looked at, and with a CRF or without."""
    data, _ = planted(12)
    settings = {"codes": 5, "steps": 3, "probe_steps": 2, "batch": 8, "points": 3, "seed": 1}

    def learn(**more):
        made = Stego(Patches(3, channels=6), 3, **{**settings, **more})
        return made.fit(data, cache=tmp_path, progress=False)

    first = learn(flip=True)
    (kept,) = tmp_path.glob("segmenter-*")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for more in ({"flip": False}, {"crf": DenseCRF()}, {"flip": True}):
            made = learn(**more)
            assert (made.flip, made.crf) == (more.get("flip", True), more.get("crf"))
            assert all(torch.equal(value, first.state()[key]) for key, value in made.state().items())
            assert not made.losses, "trained again"
    assert learn(flip=False).name != first.name
    assert list(tmp_path.glob("segmenter-*")) == [kept]
    assert learn(steps=4).losses and len(list(tmp_path.glob("segmenter-*"))) == 2


def test_lifted_features_are_what_the_head_is_trained_on():
    """Kinds that differ in length alone have one direction: no cosine tells them apart without a lift."""
    numbers = torch.Generator().manual_seed(0)
    masks = torch.zeros(30, 8, 8, dtype=torch.int64)
    for mask in masks:
        at = int(torch.randint(1, 5, (), generator=numbers))
        mask[:, at : at + 3] = 1
    images = torch.where(masks == 1, 0.9, 0.1)[:, None].expand(-1, 2, -1, -1)
    data = TensorImages(images + 0.01 * torch.randn(images.shape, generator=numbers))
    settings = {"codes": 4, "steps": 40, "probe_steps": 10, "batch": 16, "learning_rate": 5e-3, "points": 5}
    extractor = Patches(1, channels=2)
    found = {}
    for lift in (None, 0.5):
        made = Stego(extractor, 2, flip=False, seed=1, lift=lift, **settings).fit(data, progress=False)
        found[lift] = mean_iou(segment(made, data, progress=False), masks).value
        again = Stego.restore(made.settings(), made.state(), extractor)
        assert again.name == made.name and torch.equal(again(data.images), made(data.images))
    assert found[0.5] > 0.95 > 0.7 > found[None]


def test_more_images_than_fit_into_memory_are_drawn():
    data, _ = planted(40)
    settings = {"codes": 4, "steps": 2, "probe_steps": 2, "batch": 8, "points": 3, "flip": False}
    seen = []

    class Watched(Patches):
        def __call__(self, images):
            seen.extend(int(i) for x in images for i in range(40) if torch.equal(x, data.images[i]))
            return super().__call__(images)

    each = 4 * 6 * 12 * 12
    small = Stego(Watched(1, channels=6), 3, memory=15 * each, seed=2, **settings).fit(data, progress=False)
    assert len(seen) == 15 and seen == sorted(set(seen)) and seen != list(range(15))
    assert small(data.images).shape == (40, 12, 12)
    seen.clear()
    Stego(Watched(1, channels=6), 3, memory=each, **settings).fit(data, progress=False)
    # A batch has to be there in any case.
    assert len(seen) == 8


def test_a_restored_segmenter_gives_the_same_masks(trained):
    stego, data, _ = trained
    again = Stego.restore(stego.settings(), stego.state(), PIXELS)
    assert again.name == stego.name and torch.equal(again(data.images), stego(data.images))
    with pytest.raises(ValueError, match="patches"):
        Stego.restore(stego.settings(), stego.state(), Patches(5, channels=6))
    with pytest.raises(ValueError, match="do not fit"):
        Stego.restore({**stego.settings(), "codes": 9}, stego.state(), PIXELS)


def test_the_crf_has_the_last_word(trained):
    stego, data, _ = trained
    refined = Stego.restore(stego.settings(), stego.state(), stego.extractor)
    refined.crf = lambda images, scores: -scores
    worst = stego.log_probabilities(data.images).argmin(dim=1)
    assert torch.equal(refined(data.images).long(), worst)


def test_refusals():
    with pytest.raises(ValueError, match="not trained"):
        Stego(Patches(3), 2)(noise_images(2).images)
    with pytest.raises(ValueError, match="neighbours"):
        Stego(Patches(3), 2).fit(noise_images(5), progress=False)
    with pytest.raises(ValueError, match="255"):
        Stego(Patches(3), 300)
    with pytest.raises(ValueError, match="balanced or published"):
        Stego(Patches(3), 3, shifts="none")
    with pytest.raises(ValueError, match="batch"):
        Stego(Patches(3), 3, batch=1)
