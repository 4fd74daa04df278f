"""Masks from run lengths and polygons, looked at under the centres of chosen pixels."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

#: Places that are whole numbers but for rounding errors count as whole.
_EPS = 1e-9


def run_lengths(inside: Tensor) -> list[int]:
    """Run lengths of a bool mask ``(H, W)``, down the columns, beginning with the pixels outside."""
    flat = torch.cat([torch.tensor([False]), inside.T.reshape(-1)])
    changes = (flat[1:] != flat[:-1]).nonzero()[:, 0].tolist()
    ends = [0, *changes, inside.numel()]
    return [end - start for start, end in zip(ends, ends[1:])]


def from_run_lengths(counts: Sequence[int], size: tuple[int, int]) -> Tensor:
    """The bool mask ``(H, W)`` of :func:`run_lengths`.

    Raises:
        ValueError: negative runs, or runs that do not fill the mask.
    """
    return looked_up(counts, size, torch.arange(size[0]), torch.arange(size[1]))


def decompressed(text: str | bytes) -> list[int]:
    """Run lengths from the text that the reference tools of COCO write them as.

    A number is written five bits a character, the lowest first, each plus 48: bit 32 says that more follow,
    bit 16 of the last one that the number is negative. From the fourth run on it is the difference to the run
    two before (`rleFrString` of pycocotools).

    Raises:
        ValueError: other characters, or a text that ends within a number.
    """
    values = [(ord(one) if isinstance(one, str) else one) - 48 for one in text]
    if any(not 0 <= value < 64 for value in values) or (values and values[-1] & 32):
        raise ValueError(f"its compressed run lengths are damaged: {text[:20]!r}")
    runs: list[int] = []
    number, shift = 0, 0
    for value in values:
        number |= (value & 31) << shift
        shift += 5
        if value & 32:
            continue
        number -= (1 << shift) if value & 16 else 0
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number, shift = 0, 0
    return runs


def looked_up(counts: Sequence[int], size: tuple[int, int], lines: Tensor, columns: Tensor) -> Tensor:
    """Some lines and columns of the mask of :func:`run_lengths`, bool ``(len(lines), len(columns))``.

    Args:
        counts: the run lengths of a mask of ``size``, (height, width).
        lines, columns: int64; what lies outside of the mask is False.

    Raises:
        ValueError: as :func:`from_run_lengths`.
    """
    runs = torch.tensor(list(counts), dtype=torch.int64)
    if (len(runs) and int(runs.min()) < 0) or int(runs.sum()) != size[0] * size[1]:
        raise ValueError(
            f"run lengths sum to {int(runs.sum())} pixels, a mask of {size[0]} x {size[1]} needs all"
        )
    within = ((lines >= 0) & (lines < size[0]))[:, None] & (columns >= 0) & (columns < size[1])
    place = columns * size[0] + lines[:, None]
    # The runs that end at or before a pixel: an odd number of them, and the pixel is inside.
    return within & (torch.searchsorted(runs.cumsum(0), place, right=True) % 2 == 1)


def filled(polygons: Sequence[Sequence[float]], lines: Tensor, columns: Tensor) -> Tensor:
    """The places that lie in any of some polygons, bool ``(len(lines), len(columns))``.

    A place is inside of a polygon if a line from it to the left crosses the border an odd number of times, so
    that polygons with a common side share no place and leave none out; a polygon that crosses itself has
    holes.

    Args:
        polygons: corners x, y, x, y, ... of each.
        lines: y of the places, float64, rising.
        columns: x of the places, float64, rising.

    Raises:
        ValueError: fewer than three corners, or values that are no numbers.
    """
    inside = torch.zeros(len(lines), len(columns), dtype=torch.bool)
    for polygon in polygons:
        corners = _corners(polygon)
        # Each side toggles, in the lines that it crosses, all columns from the crossing on.
        toggles = torch.zeros(len(lines), len(columns) + 1, dtype=torch.int64)
        for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]]):
            if y0 == y1:
                continue
            hit = ((lines >= min(y0, y1)) & (lines < max(y0, y1))).nonzero()[:, 0]
            x = x0 + (lines[hit] - y0) * ((x1 - x0) / (y1 - y0))
            toggles[hit, torch.searchsorted(columns, x - _EPS)] += 1
        inside |= toggles[:, :-1].cumsum(1) % 2 == 1
    return inside


def _corners(polygon: Any) -> list[tuple[float, float]]:
    values = [float(v) for v in polygon]
    if len(values) < 6 or len(values) % 2 or not all(abs(v) < 1e9 for v in values):
        raise ValueError(f"a polygon needs x, y of three corners or more, got {len(values)} numbers")
    return list(zip(values[::2], values[1::2]))
