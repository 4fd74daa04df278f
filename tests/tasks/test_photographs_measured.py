"""Photographs as measurements: brought to the model's pictures as the loader brings training images."""

import numpy as np
import pytest
import torch
from PIL import Image

from windvane.data import Decoder
from windvane.tasks.steering import open_measure

SHAPE = (3, 8, 8)


@pytest.fixture
def photograph(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize("what", ["blur=1.0", "superres=2", "grey", "cs=0.25"])
def test_a_photograph_is_measured_as_the_loader_shows_it(photograph, what):
    found = open_measure(f"{what}:{photograph}", SHAPE)
    full = torch.from_numpy(Decoder(size=(8, 8))(photograph)).float() / 127.5 - 1
    torch.testing.assert_close(found.y, found.operator(full[None]))


def test_arrays_of_another_shape_are_still_refused(tmp_path):
    np.save(tmp_path / "y.npy", np.zeros((3, 5, 7)))
    with pytest.raises(ValueError, match=r"has shape \(3, 5, 7\)"):
        open_measure(f"blur=1.0:{tmp_path / 'y.npy'}", SHAPE)
