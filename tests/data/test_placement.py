"""Where pictures lie after loading: the same arithmetic as the loader's, there and back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from windvane.data.pixels import FITS, fit_to
from windvane.data.placement import Placement

SIDES = st.integers(1, 40)
PLACES = st.builds(Placement.of, st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.sampled_from(FITS))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("source", [(48, 64), (60, 40), (50, 50), (9, 7), (33, 130)])
def test_the_loader_puts_pictures_where_the_placement_says(source, fit):
    """A picture that tells each pixel its place: after nearest resampling each pixel tells where it was."""
    height, width = source
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    size = (12, 20)
    place = Placement.of(source, size, fit)
    lines, columns = place.under()
    shown = [np.asarray(fit_to(Image.fromarray(part), size, fit, "nearest", (255, 0, 0))) for part in (y, x)]
    inside = ((lines >= 0) & (lines < height))[:, None] & (columns >= 0) & (columns < width)
    assert (shown[0][~inside.numpy()] == 255).all(), "what is no picture is margin"
    for wanted, found in ((lines[:, None].expand(size), shown[0]), (columns.expand(size), shown[1])):
        gap = (wanted - torch.from_numpy(found.astype(np.int64)))[inside]
        # Pillow decides the same but where a centre falls on the border of two pixels.
        assert int(gap.abs().max()) <= 1 and float((gap != 0).double().mean()) < 0.3


def test_a_photograph_by_hand():
    place = Placement.of((480, 640), (32, 32), "crop")
    assert (place.across, place.down, place.left, place.top) == (15, 15, 80, 0)
    assert place.box_in((80, 0, 560, 480)) == (0, 0, 32, 32)
    assert place.box_in((0, 30, 110, 60)) == (0, 2, 2, 4), "cut at the left"
    assert place.box_in((0, 0, 80, 480)) is None, "cut off altogether"
    assert place.box_in((88, 0, 103, 7)) == (1, 0, 2, 1), "few pixels: those with a centre inside, or one"
    assert place.box_out((1, 0, 3, 4)) == (95, 0, 125, 60)
    padded = Placement.of((480, 640), (32, 32), "pad")
    assert (padded.across, padded.left, padded.top) == (20, 0, -80)
    assert padded.box_in((0, 0, 640, 480)) == (0, 4, 32, 28)
    assert padded.box_out((0, 0, 32, 4)) is None and padded.box_out((0, 0, 32, 6)) == (0, 0, 640, 40)


@given(PLACES)
def test_over_takes_under_back(place):
    if min(place.across, place.down) < 1:
        return
    for under, over, side in zip(place.under(), place.over(), place.source):
        for pixel, at in enumerate(under.tolist()):
            if 0 <= at < side:
                assert int(over[at]) == pixel


@given(PLACES, st.data())
def test_boxes_come_back(place, data):
    """A box within the picture, written in the source's pixels and read again, is the same box."""
    lines, columns = place.under()
    spans = []
    for under, side in ((columns, place.source[1]), (lines, place.source[0])):
        seen = ((under >= 0) & (under < side)).nonzero()[:, 0]
        first = data.draw(st.integers(int(seen[0]), int(seen[-1])))
        spans.append((first, data.draw(st.integers(first + 1, int(seen[-1]) + 1))))
    (left, right), (top, bottom) = spans
    out = place.box_out((left, top, right, bottom))
    assert 0 <= out[0] < out[2] <= place.source[1] and 0 <= out[1] < out[3] <= place.source[0]
    assert place.box_in(tuple(round(edge, 4) for edge in out)) == (left, top, right, bottom)


@given(PLACES, st.data())
def test_a_box_holds_the_pixels_whose_centres_it_holds(place, data):
    height, width = place.source
    x0, x1 = sorted((data.draw(st.integers(0, width)), data.draw(st.integers(0, width))))
    y0, y1 = sorted((data.draw(st.integers(0, height)), data.draw(st.integers(0, height))))
    if x0 == x1 or y0 == y1:
        return
    lines, columns = place.under()
    across, down = (columns >= x0) & (columns < x1), (lines >= y0) & (lines < y1)
    found = place.box_in((x0, y0, x1, y1))
    if bool(across.any()) and bool(down.any()):
        rows, line = across.nonzero()[:, 0], down.nonzero()[:, 0]
        assert found == (int(rows[0]), int(line[0]), int(rows[-1]) + 1, int(line[-1]) + 1)
