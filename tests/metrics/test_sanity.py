"""Rows of what no model made, and what is said where features cannot tell them from real images."""

import pytest
import torch

from windvane.metrics import evaluate, to_rows
from windvane.metrics.sanity import ROWS, sanity
from windvane.metrics.texture import WithTexture, texture


class Blind:
    """Features that say nothing about a picture."""

    name = "blind"

    def __call__(self, images):
        keyed = torch.Generator().manual_seed(len(images))
        return torch.randn(len(images), 3, generator=keyed)


class Levels:
    """Mean grey of four quarters: noise has the mean of everything in each."""

    name = "levels"

    def __call__(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), 2).flatten(1)


def smooth(n, seed=0):
    """Pictures that vary slowly."""
    keyed = torch.Generator().manual_seed(seed)
    small = torch.randn(n, 1, 3, 3, generator=keyed)
    return torch.nn.functional.interpolate(small, size=12, mode="bicubic").clamp(-1, 1)


def by_name(samples, extractor, **options):
    found = evaluate(
        samples, smooth(120), extractor=extractor, allow_few=True, resamples=0, progress=False, **options
    )
    return {metric.name: metric for metric in found}


def test_features_that_see_nothing_are_called_so():
    found = by_name(smooth(100, 1), Blind(), metrics=["precision", "density", "recall"])
    assert list(found["precision"].details["sanity"]) == list(ROWS)
    assert "noise" in found["precision"].details["unfit"]
    assert "unfit" not in found["recall"].details
    cells = {row[0]: row[1:3] for row in to_rows(list(found.values()))[1:]}
    assert cells["precision"] == cells["density"] == ["unfit", "-"] and cells["recall"][0] != "unfit"


def test_texture_beside_them_tells_noise_and_shuffled_pixels_from_pictures():
    data = smooth(200, 2)
    plain, helped = (sanity(smooth(120), space) for space in (Levels(), WithTexture(Levels(), data)))
    assert plain["noise"]["precision"] > 0.5
    assert helped["noise"]["precision"] == helped["shuffled pixels"]["precision"] == 0
    assert helped["real images"]["precision"] > 0.9
    noise = torch.rand(100, 1, 12, 12, generator=torch.Generator().manual_seed(3)) * 2 - 1
    found = by_name(noise, WithTexture(Levels(), data), train=data)
    assert found["precision"].value == 0 and "unfit" not in found["precision"].details
    assert "times as far" in found["nearest_train"].details["beyond"]
    assert "beyond" not in by_name(smooth(60, 5), Levels(), train=data)["nearest_train"].details


def test_features_come_first_and_unchanged():
    data = smooth(50)
    both = WithTexture(Levels(), data)(data[:7])
    assert torch.equal(both[:, :4], Levels()(data[:7]))
    assert both.shape == (7, 4 + texture(data).shape[1])
    assert WithTexture(Levels(), data).name == "levels+texture"


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 2), (1, 5, 3), (3, 32, 48)])
def test_texture_is_finite_on_any_picture(shape):
    assert torch.isfinite(texture(torch.zeros(4, *shape))).all()


def test_few_images_and_vectors_have_no_sanity_rows():
    assert sanity(smooth(11), Levels(), k=5) == {}
