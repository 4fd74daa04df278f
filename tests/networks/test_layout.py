"""The layout condition: map, presence, resizing."""

import pytest
import torch

from tests.networks.tiny import LAYOUT, batch, dit, draw, unet
from windvane.conditions import Condition
from windvane.networks import LayoutInput

F32 = {"device": torch.device("cpu"), "dtype": torch.float32}


def test_presence_marks_given_rows_and_absent_rows_are_zero():
    maps = draw(3, 2, 4, 4)
    maps[1] = float("nan")
    cond = Condition.of(layout=maps).drop(torch.tensor([False, True, False]))
    channels = LayoutInput(2)(cond, 3, **F32)
    assert torch.equal(channels[:, 2], torch.tensor([1.0, 0.0, 1.0])[:, None, None].expand(3, 4, 4))
    assert torch.equal(channels[0, :2], maps[0])
    assert torch.count_nonzero(channels[1]) == 0


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_label_maps_keep_their_values_and_places_when_resized(factor):
    blocks = torch.randint(0, 2, (2, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    large = blocks.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    x = draw(2, 1, 4, 4)
    joined = LayoutInput.join(x, LayoutInput(3)(Condition.of(layout=large), 2, **F32))
    assert torch.equal(joined[:, :1], x)
    assert torch.equal(joined[:, 1:4], blocks.float())


def test_enlarging_repeats_pixels():
    small = draw(1, 1, 2, 2)
    joined = LayoutInput.join(torch.zeros(1, 1, 6, 6), LayoutInput(1)(Condition.of(layout=small), 1, **F32))
    assert torch.equal(joined[0, 1], small[0, 0].repeat_interleave(3, 0).repeat_interleave(3, 1))


@pytest.mark.parametrize("make", [unet, dit])
def test_no_object_differs_from_no_map(make):
    network, (x, time) = make(layout=LAYOUT), batch(2)
    empty = Condition.of(layout=torch.zeros(2, LAYOUT, 8, 8))
    null = network(x, time, None)
    assert torch.equal(network(x, time, empty.null()), null)
    assert (network(x, time, empty) - null).abs().max() > 1e-3


@pytest.mark.parametrize("make", [unet, dit])
def test_where_the_object_is_matters(make):
    network, (x, time) = make(layout=1), batch(1)
    left, right = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    left[..., :4], right[..., 4:] = 1, 1
    outputs = [network(x, time, Condition.of(layout=m)) for m in (left, right)]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3


def test_wrong_maps_are_refused():
    with pytest.raises(ValueError, match=r"maps \(B, 3, H, W\), got \(2, 1, 8, 8\)"):
        unet(layout=3)(*batch(2), Condition.of(layout=torch.zeros(2, 1, 8, 8)))
