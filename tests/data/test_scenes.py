"""Scenes: the truth that comes with them is the truth of the pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from windvane.data import ImageData, digits
from windvane.data.scenes import scenes

DIGITS = digits()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3))
def test_boxes_are_the_bounds_of_the_masks_and_hold_all_ink(seed, most):
    made = scenes(DIGITS, 2, size=28, count=(1, most), noise=0.2, seed=seed)
    for i in range(2):
        assert 1 <= len(made.boxes[i]) <= most
        assert len(made.labels[i]) == len(made.boxes[i])
        for j, (left, top, right, bottom) in enumerate(made.boxes[i].tolist()):
            mine = made.masks[i] == j + 1
            assert mine[top:bottom, left:right].sum() == mine.sum() > 0
            edges = (mine[top], mine[bottom - 1], mine[:, left], mine[:, right - 1])
            assert all(bool(edge.any()) for edge in edges)
        outside = made.images[i][0][made.masks[i] == 0]
        # Faint ink below the threshold stays outside the mask.
        assert (outside <= -1 + 2 * 0.25 + 1e-6).all()


def test_the_object_is_there_unchanged_and_carries_its_label():
    one = ImageData(np.full((1, 1, 3, 3), 0.5, dtype=np.float32), labels=[4])
    made = scenes(one, 5, size=9, noise=0.1, seed=3)
    for i in range(5):
        left, top, right, bottom = made.boxes[i][0].tolist()
        assert (right - left, bottom - top) == (3, 3)
        assert torch.allclose(made.images[i][0, top:bottom, left:right], torch.tensor(0.5))
        assert made.labels[i].tolist() == [4]


def test_scenes_depend_on_seed_and_position_alone():
    short, long = scenes(DIGITS, 3, clutter=2, seed=5), scenes(DIGITS, 6, clutter=2, seed=5)
    assert torch.equal(short.images.batch(slice(None)), long.images.batch(slice(3)))
    assert not torch.equal(long.images[0], scenes(DIGITS, 1, clutter=2, seed=6).images[0])


def test_whole_images_are_pasted_in_colour():
    colour = ImageData(np.random.default_rng(0).uniform(-1, 1, (4, 3, 6, 6)).astype(np.float32))
    made = scenes(colour, 3, size=16, count=(2, 2), ink=None)
    assert made.images.shape == (3, 16, 16)
    for i in range(3):
        assert all((b[2] - b[0], b[3] - b[1]) == (6, 6) for b in made.boxes[i].tolist())


def test_clutter_is_not_an_object():
    plain, strewn = (scenes(DIGITS, 4, size=24, noise=0.0, clutter=c, seed=1) for c in (0, 5))
    ink = [(s.images.batch(slice(None))[:, 0] > 0)[s.masks == 0].sum() for s in (plain, strewn)]
    assert ink[0] == 0 < ink[1]


def test_refusals():
    with pytest.raises(ValueError, match="8 x 8 on 6 x 6"):
        scenes(DIGITS, 1, size=6)
    with pytest.raises(ValueError, match="noise 2"):
        scenes(DIGITS, 1, noise=2)
