"""Where a picture lies once it was brought to another size: the way of boxes and masks through loading."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

#: Places that are whole numbers but for rounding errors count as whole.
_EPS = 1e-9


@dataclass(frozen=True)
class Placement:
    """A picture of `source` (height, width) that :func:`windvane.data.pixels.fit_to` brings to `size`.

    A place (x, y) of the result, in pixels from its upper left corner, shows the place (left + across x,
    top + down y) of the source.

    Attributes:
        source, size: (height, width) before and after.
        across, down: source pixels a pixel of the result.
        left, top: the place of the source in the result's corner; negative beside a margin.
    """

    source: tuple[int, int]
    size: tuple[int, int]
    across: float
    down: float
    left: float
    top: float

    @classmethod
    def of(cls, source: tuple[int, int], size: tuple[int, int], fit: str) -> Self:
        """By one of `FITS`: "crop", "pad" or "stretch", see `Decoder`."""
        (rows, columns), (height, width) = source, size
        across, down = columns / width, rows / height
        if fit == "stretch":
            return cls(source, size, across, down, 0.0, 0.0)
        if fit == "crop":
            scale = min(across, down)
            return cls(source, size, scale, scale, (columns - scale * width) / 2, (rows - scale * height) / 2)
        high, wide = inner(source, size)
        across, down = columns / wide, rows / high
        return cls(
            source,
            size,
            across,
            down,
            -((width - wide) // 2) * across,
            -((height - high) // 2) * down,
        )

    def box_in(self, box: tuple[float, float, float, float]) -> tuple[int, int, int, int] | None:
        """A box (left, top, right, bottom) of the source in pixels of the result; None if it is not seen.

        Pixels whose centres lie in the box; of a box without any, the pixel at its middle.
        """
        across = _pixels((box[0] - self.left) / self.across, (box[2] - self.left) / self.across, self.size[1])
        down = _pixels((box[1] - self.top) / self.down, (box[3] - self.top) / self.down, self.size[0])
        return None if across is None or down is None else (across[0], down[0], across[1], down[1])

    def box_out(self, box: tuple[int, int, int, int]) -> tuple[float, float, float, float] | None:
        """The way back: a box of the result in the source, cut at its border; None beside the picture."""
        height, width = self.source
        left, right = (min(max(self.left + x * self.across, 0.0), width) for x in (box[0], box[2]))
        top, bottom = (min(max(self.top + y * self.down, 0.0), height) for y in (box[1], box[3]))
        return (left, top, right, bottom) if left < right and top < bottom else None

    def under(self) -> tuple[Tensor, Tensor]:
        """Source rows ``(height,)`` and columns ``(width,)`` under the centres of the result's pixels.

        Beside the picture they are below 0 or at least the source's size.
        """
        y, x = (torch.arange(side, dtype=torch.float64) + 0.5 for side in self.size)
        return _floor(self.top + y * self.down, _EPS), _floor(self.left + x * self.across, _EPS)

    def over(self) -> tuple[Tensor, Tensor]:
        """Rows and columns of the result over the centres of the source's pixels; of what was cut, outside.

        Where the source is not the smaller one, ``over`` of ``under`` is the pixel itself.
        """
        y, x = (torch.arange(side, dtype=torch.float64) + 0.5 for side in self.source)
        return _floor((y - self.top) / self.down, -_EPS), _floor((x - self.left) / self.across, -_EPS)


def inner(source: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the picture inside its margin, for the fit "pad"."""
    scale = max(source[1] / size[1], source[0] / size[0])
    return max(round(source[0] / scale), 1), max(round(source[1] / scale), 1)


def _floor(places: Tensor, nudge: float) -> Tensor:
    return (places + nudge).floor().to(torch.int64)


def _pixels(first: float, last: float, side: int) -> tuple[int, int] | None:
    """The pixels with a centre between two places, cut at 0 and ``side``."""
    first, last = max(first, 0.0), min(last, float(side))
    if first >= last:
        return None
    begin, end = math.ceil(first - 0.5 - _EPS), math.ceil(last - 0.5 - _EPS)
    if begin < end:
        return begin, end
    middle = min(int((first + last) / 2), side - 1)
    return middle, middle + 1
