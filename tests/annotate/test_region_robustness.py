"""Stability of boxes and masks: what follows the picture scores 1 under every change, what does not, less."""

import pytest
import torch

from tests.annotate.stand_ins import TensorImages
from windvane.annotate import BoxAnnotation, MaskAnnotation, Origin
from windvane.annotate.images.robustness import CHANGES
from windvane.annotate.regions.robustness import region_stability


@pytest.fixture
def squares():
    """Black images with a bright square of 5 pixels somewhere, two pixels or more from the border."""
    images = torch.full((30, 1, 16, 16), -1.0)
    corner = torch.randint(2, 10, (30, 2), generator=torch.Generator().manual_seed(0)).tolist()
    for image, (y, x) in zip(images, corner):
        image[:, y : y + 5, x : x + 5] = 1
    return TensorImages(images)


def bright(data):
    """Where the picture is bright: follows every change."""
    return data.batch(slice(None))[:, 0] > 0


def boxes(data):
    found = []
    for inside in bright(data):
        y, x = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
        found.append([int(x[0]), int(y[0]), int(x[-1]) + 1, int(y[-1]) + 1])
    return BoxAnnotation(torch.tensor(found), size=(16, 16), origin=Origin("test"))


def masks(data):
    return MaskAnnotation(bright(data).to(torch.uint8), 2, origin=Origin("test"))


@pytest.mark.parametrize("find", [boxes, masks])
def test_what_follows_the_picture_comes_back_whole(squares, find):
    told = region_stability(find, squares)
    assert told["kind"] == find.__name__ and told["images"] == 30 and "seeds" not in told
    assert told["changes"] == {change: {"iou": 1.0, "kept": 1.0} for change in CHANGES}


def test_what_stays_where_it_is_does_not_come_back(squares):
    def left(data):
        return BoxAnnotation(
            torch.tensor([[0, 0, 8, 16]]).expand(len(data), 4), size=(16, 16), origin=Origin("test")
        )

    told = region_stability(left, squares, changes=("mirrored", "darker", "shifted"), most=7)
    assert told["images"] == 7
    assert told["changes"]["mirrored"] == {"iou": 0.0, "kept": 0.0}
    assert told["changes"]["darker"] == {"iou": 1.0, "kept": 1.0}
    assert 0.7 < told["changes"]["shifted"]["iou"] < 1


def test_masks_by_hand(squares):
    def upper(data):  # the upper quarter, and one more pixel in darker images
        made = torch.zeros(len(data), 16, 16, dtype=torch.uint8)
        made[:, :4] = 1
        if float(data.batch(slice(None)).max()) < 1:
            made[:, 4, 0] = 1
        return MaskAnnotation(made, 3, origin=Origin("test"))

    found = region_stability(upper, squares, changes=("darker",))["changes"]["darker"]
    assert found["kept"] == pytest.approx(255 / 256)
    assert found["iou"] == pytest.approx((191 / 192 + 64 / 65) / 2), "id 2 is nowhere and does not count"


def test_seeds_are_compared_in_pairs_with_ids_matched(squares):
    def other(data):
        made = masks(data)
        return MaskAnnotation(1 - made.masks, 2, origin=made.origin)  # the same parts, numbered otherwise

    def wrong(data):
        made = masks(data)
        return MaskAnnotation(made.masks.roll(8, dims=-1), 2, origin=made.origin)

    told = region_stability(masks, squares, changes=(), refits={5: other}, seed_used=4)["seeds"]
    assert told == {"seeds": [4, 5], "iou": 1.0, "kept": 1.0, "iou_lowest": 1.0}
    told = region_stability(masks, squares, changes=(), refits={1: other, 2: wrong})["seeds"]
    assert told["iou_lowest"] < 0.5 < told["iou"] < 1 and told["kept"] < 1
    moved = region_stability(
        boxes, squares, changes=(), refits={1: lambda data: boxes(data).take(torch.arange(len(data)).roll(1))}
    )
    assert moved["seeds"]["kept"] < 1
    with pytest.raises(ValueError, match="got none"):
        region_stability(boxes, TensorImages(torch.zeros(0, 1, 16, 16)))
