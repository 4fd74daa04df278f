"""Pictures: the rounding rule, settings inside PNG files, and grids that show each image where it belongs."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from windvane.pictures import (
    from_uint8,
    image_grid,
    png_bytes,
    read_pixels,
    read_settings,
    save_png,
    scale_for,
    to_picture,
    to_uint8,
)

LEVELS = np.arange(256, dtype=np.uint8)


def test_every_level_survives_the_way_to_floats_and_back():
    assert np.array_equal(to_uint8(from_uint8(LEVELS)), LEVELS)
    assert np.array_equal(to_uint8(torch.from_numpy(from_uint8(LEVELS))), LEVELS)


@given(st.floats(-3, 3))
def test_a_value_becomes_the_nearest_level(value):
    level = int(to_uint8(np.array([value]))[0])
    ideal = min(max((value + 1) * 127.5, 0.0), 255.0)
    assert abs(level - ideal) <= 0.5


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        to_uint8(np.array([0.0, bad]))


def test_bfloat16_and_gradients_are_no_obstacle():
    image = torch.zeros(1, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    assert (to_uint8(image) == 128).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pixels_survive_the_file(tmp_path, channels):
    image = np.random.default_rng(1).integers(0, 256, (channels, 5, 7), dtype=np.uint8)
    path = save_png(to_picture(image), tmp_path / "one.png")
    assert np.array_equal(read_pixels(path), image)


@given(st.dictionaries(st.text(max_size=8), st.none() | st.integers() | st.text(max_size=20), max_size=5))
def test_settings_survive_the_file(tmp_path_factory, settings):
    path = tmp_path_factory.mktemp("png") / "one.png"
    save_png(to_picture(np.zeros((3, 2, 2))), path, settings)
    assert read_settings(path) == settings


def test_other_programs_see_the_settings_as_text(tmp_path):
    path = save_png(to_picture(np.zeros((1, 2, 2))), tmp_path / "one.png", {"seed": 7, "name": "Köln"})
    with Image.open(path) as picture:
        assert json.loads(picture.text["windvane"]) == {"seed": 7, "name": "Köln"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "not found"),
        (b"no picture at all", "not a readable picture"),
        (png_bytes(to_picture(np.zeros((1, 2, 2)))), "no windvane settings"),
        (png_bytes(to_picture(np.zeros((1, 2, 2))), {"seed": 1})[:60], "not a readable picture"),
    ],
    ids=["missing", "text", "no settings", "torn"],
)
def test_a_picture_without_settings_is_refused(tmp_path, content, words):
    path = tmp_path / "one.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_settings(path)


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=6)), st.integers(1, 4))
def test_enlarging_repeats_pixels(pixels, scale):
    large = np.asarray(to_picture(pixels, scale=scale))
    assert large.shape == (pixels.shape[0] * scale, pixels.shape[1] * scale)
    for row in range(scale):
        for column in range(scale):
            assert np.array_equal(large[row::scale, column::scale], pixels)


def test_tiny_images_are_enlarged_to_be_seen():
    assert scale_for(8, 8, least=64) == 8
    assert scale_for(300, 64, least=64) == 1


@pytest.mark.parametrize("labels", [False, True])
def test_a_grid_shows_every_image_in_reading_order(labels):
    levels = [30, 60, 90, 120, 150]
    images = np.stack([np.full((3, 4, 6), level, dtype=np.uint8) for level in levels])
    grid = image_grid(
        images,
        columns=3,
        scale=5,
        row_labels=["first", "second row"] if labels else None,
        column_labels=["a", "b", "c"] if labels else None,
        title="A grid" if labels else None,
    )
    pixels = np.asarray(grid)[..., 0]
    centres = {}
    for level in levels:
        rows, columns = np.nonzero(pixels == level)
        spots = [(r, c) for r, c in zip(rows, columns) if (pixels[r : r + 20, c : c + 30] == level).all()]
        solid = [(r, c) for r, c in spots if pixels[r : r + 20, c : c + 30].shape == (20, 30)]
        assert len(solid) == 1, f"level {level} is not shown exactly once as 20 x 30 pixels"
        centres[level] = solid[0]
    assert centres[30][0] == centres[60][0] == centres[90][0] < centres[120][0] == centres[150][0]
    assert centres[30][1] == centres[120][1] < centres[60][1] == centres[150][1] < centres[90][1]
    inked = np.argwhere(pixels < 20)
    assert bool(len(inked)) == labels


def test_a_grid_refuses_labels_that_do_not_fit():
    with pytest.raises(ValueError, match="2 rows need 2 row labels, got 1"):
        image_grid(np.zeros((4, 1, 2, 2)), columns=2, row_labels=["x"])
    with pytest.raises(ValueError, match=r"\(B, C, H, W\)"):
        image_grid(np.zeros((4, 2, 2)))


def test_a_killed_writer_leaves_the_old_picture(tmp_path, monkeypatch):
    path = save_png(to_picture(np.zeros((1, 2, 2))), tmp_path / "one.png", {"seed": 1})

    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        save_png(to_picture(np.ones((1, 2, 2))), path, {"seed": 2})
    assert read_settings(path) == {"seed": 1}
