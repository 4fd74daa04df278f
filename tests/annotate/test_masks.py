"""Masks: moved with their images pixel for pixel, clustered from patches, refined by a CRF."""

import sys
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tests.annotate.stand_ins import TensorImages, noise_images
from windvane.annotate.dense import Patches
from windvane.annotate.regions.boxes import bounding_boxes, box_masks
from windvane.annotate.regions.masks import DenseCRF, PatchClusters, Views, nearest, resize_boxes, segment

SIDES = st.integers(1, 9)


@st.composite
def views_of_masks(draw):
    """Two masks and views of them: crops, mirrored or not, at any new size."""
    source = draw(SIDES), draw(SIDES)
    crop = draw(st.integers(1, source[0])), draw(st.integers(1, source[1]))
    size = draw(st.none() | st.tuples(SIDES, SIDES))
    top = [draw(st.integers(0, source[0] - crop[0])) for _ in range(2)]
    left = [draw(st.integers(0, source[1] - crop[1])) for _ in range(2)]
    flip = [draw(st.booleans()) for _ in range(2)]
    masks = torch.tensor(
        draw(
            st.lists(
                st.integers(0, 4), min_size=2 * source[0] * source[1], max_size=2 * source[0] * source[1]
            )
        )
    ).reshape(2, *source)
    return Views(torch.tensor(top), torch.tensor(left), torch.tensor(flip), crop, source, size), masks


@given(views_of_masks())
def test_moving_a_mask_is_moving_the_image_it_is_coded_in(case):
    views, masks = case
    as_images = F.one_hot(masks, 5).movedim(-1, 1).float()
    moved = views.masks(masks)
    assert torch.equal(views.images(as_images, smooth=False).argmax(dim=1), moved)
    assert torch.equal(views.layouts(as_images), F.one_hot(moved, 5).movedim(-1, 1).float())
    # By hand, pixel for pixel: crop, mirror, resize.
    for row in range(2):
        cut = masks[row, int(views.top[row]) :, int(views.left[row]) :][: views.crop[0], : views.crop[1]]
        cut = cut.flip(-1) if views.flip[row] else cut
        height, width = views.out
        for i in range(height):
            for j in range(width):
                y = int((i + 0.5) * views.crop[0] / height)
                x = int((j + 0.5) * views.crop[1] / width)
                assert moved[row, i, j] == cut[y, x]


@given(views_of_masks(), st.data())
def test_a_moved_box_is_the_box_of_the_moved_mask(case, data):
    views, _ = case
    height, width = views.source
    boxes = []
    for _ in range(2):
        left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
        right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
        boxes.append([left, top, right, bottom])
    boxes = torch.tensor(boxes)
    moved = views.boxes(boxes)
    masks = views.masks(box_masks(boxes, views.source)[:, 0])
    for row in range(2):
        if masks[row].any():
            assert torch.equal(moved[row], bounding_boxes(masks[row : row + 1] > 0)[0])
        else:
            assert moved[row].tolist() == [0, 0, 0, 0]


@given(SIDES, SIDES, st.tuples(SIDES, SIDES))
def test_nearest_equals_torch_and_moves_boxes(height, width, size):
    values = torch.arange(height * width).reshape(1, 1, height, width).double()
    ours = nearest(values, size)
    assert torch.equal(ours, F.interpolate(values, size=size, mode="nearest-exact"))
    box = torch.tensor([[0, 0, (width + 1) // 2, height]])
    inside = nearest(box_masks(box, (height, width)), size)[0, 0] > 0
    left, top, right, bottom = resize_boxes(box, (height, width), size)[0].tolist()
    expected = torch.zeros(size, dtype=torch.bool)
    expected[top:bottom, left:right] = True
    assert torch.equal(inside, expected)


def test_drawn_views_are_repeatable_and_stay_inside():
    views = Views.draw(200, (10, 8), crop=(6, 5), flip=True, seed=4)
    assert int(views.top.max()) == 4 and int(views.left.max()) == 3 and int(views.top.min()) == 0
    assert 60 < int(views.flip.sum()) < 140
    again = Views.draw(200, (10, 8), crop=(6, 5), flip=True, seed=4)
    assert torch.equal(views.top, again.top) and torch.equal(views.flip, again.flip)
    assert not Views.draw(50, (10, 8)).flip.any()
    some = views.index(torch.tensor([3, 3, 7]))
    assert some.top.tolist() == [int(views.top[3]), int(views.top[3]), int(views.top[7])]


def test_smooth_views_are_antialiased_crops():
    images = noise_images(2, (1, 8, 8)).images
    views = Views(
        torch.tensor([0, 2]), torch.tensor([2, 0]), torch.tensor([False, True]), (6, 6), (8, 8), (3, 3)
    )
    expected = torch.stack([images[0, :, :6, 2:], images[1, :, 2:, :6].flip(-1)])
    expected = F.interpolate(expected, size=(3, 3), mode="bilinear", antialias=True)
    torch.testing.assert_close(views.images(images), expected)


def test_views_refuse_what_does_not_fit():
    zero = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="within images"):
        Views(zero + 3, zero, zero.bool(), (6, 6), (8, 8))
    views = Views(zero, zero, zero.bool(), (6, 6), (8, 8))
    with pytest.raises(ValueError, match="do not fit"):
        views.masks(torch.zeros(2, 8, 9))
    with pytest.raises(ValueError, match="do not fit"):
        views.images(torch.zeros(3, 1, 8, 8))
    with pytest.raises(ValueError, match="boxes of shape"):
        views.boxes(torch.zeros(3, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="within images"):
        Views.draw(2, (4, 4), crop=(5, 4))


def striped(n=6):
    """Images of three brightnesses in vertical stripes, the widest in the middle; places differ by image."""
    numbers = torch.Generator().manual_seed(0)
    images = torch.empty(n, 1, 8, 12)
    for image in images:
        image[:] = -0.9
        at = int(torch.randint(2, 5, (), generator=numbers))
        image[:, :, at : at + 3] = 0.1
        image[:, :, at + 3 : at + 5] = 0.9
    return TensorImages(images)


def test_patch_clusters_find_the_colours():
    data = striped()
    masks = segment(
        PatchClusters(Patches(1), 3).fit(data, progress=False), data, batch_size=4, progress=False
    )
    expected = torch.searchsorted(torch.tensor([-0.5, 0.5]), data.images[:, 0].contiguous())
    assert torch.equal(masks.long(), expected)


def test_nearest_patch_clusters_give_a_pixel_the_id_of_its_patch():
    data = striped()
    clusters = PatchClusters(Patches(2, 2), 3, mode="nearest").fit(data, progress=False)
    masks = segment(clusters, data, progress=False)
    blocks = masks.reshape(6, 4, 2, 6, 2)
    assert (blocks == blocks[:, :, :1, :, :1]).all()
    ids = clusters.clusters.assign(Patches(2, 2)(data.images).movedim(1, -1).flatten(0, 2))
    assert torch.equal(blocks[:, :, 0, :, 0].long(), ids.reshape(6, 4, 6))


def test_lifted_clusters_see_direction_and_length():
    """Unit vectors alone cannot tell short from long; lifted ones can, and are those of the formula."""
    images = torch.full((4, 2, 6, 6), 0.01)
    images[:, 0, :3], images[:, 1, 3:] = 0.5, 0.5
    images[:, :, :, 4:] *= 0.05
    images = images + 1e-3 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    data, pixels = TensorImages(images), Patches(1, channels=2)
    lifted = PatchClusters(pixels, 3, normalise=True, lift=0.5).fit(data, progress=False)
    ids = lifted(images)[0]
    assert ids[0, 0] != ids[5, 0] and ids[0, 5] == ids[5, 5] != ids[0, 0]
    flat = images.movedim(1, -1).reshape(-1, 2)
    scale = flat.norm(dim=1).quantile(0.95)
    units = F.normalize(torch.cat([flat / scale, torch.full((len(flat), 1), 0.5)], dim=1), dim=1)
    expected = torch.cdist(units, lifted.clusters.centres).argmin(dim=1)
    assert torch.equal(lifted(images).flatten().long(), expected)
    again = PatchClusters.restore(lifted.settings(), lifted.state(), pixels)
    assert torch.equal(again(images), lifted(images))
    with pytest.raises(ValueError, match="normalise=True"):
        PatchClusters(pixels, 3, lift=0.5)


def test_patch_clusters_are_restored_on_the_same_features_only():
    data = striped()
    made = PatchClusters(Patches(3), 4, seed=2).fit(data, progress=False)
    again = PatchClusters.restore(made.settings(), made.state(), Patches(3))
    assert again.name == made.name and torch.equal(again(data.images), made(data.images))
    with pytest.raises(ValueError, match="patches"):
        PatchClusters.restore(made.settings(), made.state(), Patches(5))
    with pytest.raises(ValueError, match="255"):
        PatchClusters(Patches(3), 256)
    with pytest.raises(ValueError, match="not fitted"):
        PatchClusters(Patches(3), 2)(data.images)


def test_segmenters_that_break_their_promise_are_named():
    class Broken:
        name, k, extractor = "broken", 2, Patches(1)

        def __call__(self, images):
            return torch.full((len(images), 8, 12), 2, dtype=torch.uint8)

    with pytest.raises(ValueError, match="broken gave ids up to 2"):
        segment(Broken(), striped(), progress=False)


class Matrix:
    """What inference gives back: no array, but something that NumPy can make one of."""

    def __init__(self, values):
        self._values = values

    def __array__(self, dtype=None, copy=None):
        return self._values if dtype is None else self._values.astype(dtype)


class FakeCRF:
    """What is used of pydensecrf, without pairwise terms: inference is the softmax of the unaries."""

    calls: list = []

    def __init__(self, width, height, k):
        self.shape = (k, height * width)

    def setUnaryEnergy(self, energy):
        assert energy.shape == self.shape and energy.dtype == np.float32 and energy.flags["C_CONTIGUOUS"]
        self.energy = energy

    def addPairwiseGaussian(self, sxy, compat):
        self.calls.append(("gaussian", sxy, compat))

    def addPairwiseBilateral(self, sxy, srgb, rgbim, compat):
        assert rgbim.dtype == np.uint8 and rgbim.flags["C_CONTIGUOUS"]
        self.calls.append(("bilateral", sxy, srgb, compat, rgbim))

    def inference(self, iterations):
        self.calls.append(("inference", iterations))
        weights = np.exp(-self.energy)
        return Matrix(weights / weights.sum(axis=0))


def test_the_crf_gets_energies_pictures_and_published_settings(monkeypatch):
    package, module = types.ModuleType("pydensecrf"), types.ModuleType("pydensecrf.densecrf")
    module.DenseCRF2D, package.densecrf = FakeCRF, module
    monkeypatch.setitem(sys.modules, "pydensecrf", package)
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", module)
    monkeypatch.setattr(FakeCRF, "calls", [])
    images = torch.tensor([-1.0, 0.0, 1.0, -1.0]).reshape(1, 1, 2, 2)
    logits = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0)).log_softmax(dim=1)
    torch.testing.assert_close(DenseCRF()(images, logits), logits.exp())
    gaussian, bilateral, inference = FakeCRF.calls
    assert gaussian == ("gaussian", 1.0, 3.0) and inference == ("inference", 10)
    assert bilateral[1:4] == (67.0, 3.0, 4.0)
    assert bilateral[4][..., 0].tolist() == [[0, 128], [255, 0]] and bilateral[4].shape == (2, 2, 3)


def test_the_library_itself_follows_the_edges_of_the_picture():
    pytest.importorskip("pydensecrf")
    numbers = torch.Generator().manual_seed(0)
    images = torch.full((2, 3, 24, 24), -0.8)
    images[:, :, 6:18, 6:18] = 0.8
    true = (images[:, 0] > 0).long()
    noise = torch.randn(2, 2, 24, 24, generator=numbers)
    scores = (2 * F.one_hot(true, 2).movedim(-1, 1) + 1.5 * noise).log_softmax(dim=1)
    refined = DenseCRF()(images, scores)
    torch.testing.assert_close(refined.sum(dim=1), torch.ones(2, 24, 24))
    assert (scores.argmax(dim=1) == true).float().mean() < 0.9
    assert torch.equal(refined.argmax(dim=1), true)


def test_a_crf_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(ValueError, match="pip install"):
        DenseCRF()(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, 2))
    with pytest.raises(ValueError, match="pydensecrf2"):
        DenseCRF().check()
