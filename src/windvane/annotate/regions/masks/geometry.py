"""Crop, mirror and resize of images together with their masks and boxes, pixel for pixel."""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from windvane.randomness import generator


@dataclass(frozen=True)
class Views:
    """One crop per image, mirrored or not, then brought to one size; the same for images, masks and boxes.

    Output pixel (i, j) shows the source pixel that :meth:`masks` copies; the nearest resize takes the source
    pixel under the centre of the output pixel, in integer arithmetic.

    Args:
        top: first row of each crop, int64 ``(B,)``.
        left: first column, int64 ``(B,)``.
        flip: which crops are mirrored left-right, bool ``(B,)``.
        crop: (height, width) of the crops.
        source: (height, width) of the images.
        size: (height, width) of the result; None keeps the crop's.

    Raises:
        ValueError: crops that leave the image, or tensors of different lengths.
    """

    top: Tensor
    left: Tensor
    flip: Tensor
    crop: tuple[int, int]
    source: tuple[int, int]
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        rows = {len(self.top), len(self.left), len(self.flip)}
        if len(rows) != 1 or self.flip.dtype != torch.bool:
            raise ValueError(
                f"top, left and flip (bool) need the same length, got {sorted(rows)} and {self.flip.dtype}"
            )
        limits = [have - want for have, want in zip(self.source, self.crop)]
        places = [(self.top, limits[0]), (self.left, limits[1])]
        if min(self.crop) < 1 or any(
            len(p) and not 0 <= int(p.min()) <= int(p.max()) <= m for p, m in places
        ):
            raise ValueError(f"crops of {self.crop} do not lie within images of {self.source}")
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"the size must be at least one pixel, got {self.size}")

    @classmethod
    def draw(
        cls,
        rows: int,
        source: tuple[int, int],
        *,
        crop: tuple[int, int] | None = None,
        flip: bool = False,
        size: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> Self:
        """Random views: crops anywhere inside the images, mirrored half of the time if ``flip``."""
        crop = source if crop is None else crop
        numbers = generator(seed)
        ends = [max(have - want, 0) + 1 for have, want in zip(source, crop)]
        top, left = (torch.randint(end, (rows,), generator=numbers) for end in ends)
        mirrored = torch.rand(rows, generator=numbers) < 0.5
        return cls(top, left, mirrored & flip, crop, source, size)

    def __len__(self) -> int:
        return len(self.top)

    def index(self, rows: Tensor) -> Self:
        """The views of some rows, in the order given; a row may come more than once."""
        return type(self)(self.top[rows], self.left[rows], self.flip[rows], self.crop, self.source, self.size)

    @property
    def out(self) -> tuple[int, int]:
        """(height, width) of the result."""
        return self.crop if self.size is None else self.size

    def images(self, images: Tensor, *, smooth: bool = True) -> Tensor:
        """Views ``(B, C, height, width)`` of images ``(B, C, H, W)``.

        Args:
            images: of the source size.
            smooth: resize by antialiased interpolation; False copies single pixels as masks do.
        """
        self._check(images, 4)
        if not smooth or self.out == self.crop:
            return self._gather(images, *self._indices(self.out))
        cropped = self._gather(images, *self._indices(self.crop))
        return F.interpolate(cropped, size=self.out, mode="bilinear", antialias=True, align_corners=False)

    def masks(self, masks: Tensor) -> Tensor:
        """Views ``(B, height, width)`` of masks ``(B, H, W)`` of any type; no value is invented."""
        self._check(masks, 3)
        return self._gather(masks[:, None], *self._indices(self.out))[:, 0]

    def layouts(self, layouts: Tensor) -> Tensor:
        """Views of maps ``(B, C, H, W)``: as masks, channel by channel."""
        return self.images(layouts, smooth=False)

    def boxes(self, boxes: Tensor) -> Tensor:
        """Boxes int64 ``(B, 4)``, one an image, as they lie in the views: exactly the box of the moved mask.

        A box that the crop leaves out becomes (0, 0, 0, 0).
        """
        if boxes.shape != (len(self), 4):
            raise ValueError(
                f"{len(self)} views need boxes of shape ({len(self)}, 4), got {tuple(boxes.shape)}"
            )
        left, top, right, bottom = boxes.unbind(1)
        height, width = self.crop
        left, right = ((x - self.left.to(boxes)).clamp(0, width) for x in (left, right))
        top, bottom = ((y - self.top.to(boxes)).clamp(0, height) for y in (top, bottom))
        flip = self.flip.to(boxes.device)
        left, right = torch.where(flip, width - right, left), torch.where(flip, width - left, right)
        left, right = (_first(x, width, self.out[1]) for x in (left, right))
        top, bottom = (_first(y, height, self.out[0]) for y in (top, bottom))
        moved = torch.stack([left, top, right, bottom], dim=1)
        return moved * ((left < right) & (top < bottom))[:, None]

    def _check(self, values: Tensor, rank: int) -> None:
        if values.ndim != rank or len(values) != len(self) or tuple(values.shape[-2:]) != self.source:
            raise ValueError(
                f"{len(self)} views of images of {self.source} do not fit a tensor of {tuple(values.shape)}"
            )

    def _indices(self, out: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Source rows ``(B, height)`` and columns ``(B, width)`` of the output pixels."""
        lines, columns = (_under(want, have) for want, have in zip(out, self.crop))
        across = torch.where(self.flip[:, None], self.crop[1] - 1 - columns, columns)
        return self.top[:, None] + lines, self.left[:, None] + across

    def _gather(self, values: Tensor, lines: Tensor, columns: Tensor) -> Tensor:
        rows = torch.arange(len(self))[:, None, None, None]
        channels = torch.arange(values.shape[1])[None, :, None, None]
        return values[rows, channels, lines[:, None, :, None], columns[:, None, None, :]]


def nearest(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks or maps ``(..., H, W)`` at another size, each pixel copied from the one under its centre."""
    lines, columns = (_under(want, have).to(values.device) for want, have in zip(size, values.shape[-2:]))
    return values[..., lines, :][..., columns]


def resize_boxes(boxes: Tensor, source: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Boxes ``(m, 4)`` in images of ``source`` (height, width) after :func:`nearest` to ``size``."""
    left, top, right, bottom = boxes.unbind(1)
    left, right = (_first(x, source[1], size[1]) for x in (left, right))
    top, bottom = (_first(y, source[0], size[0]) for y in (top, bottom))
    return torch.stack([left, top, right, bottom], dim=1)


def _under(want: int, have: int) -> Tensor:
    """The source pixel under the centre of each output pixel: floor((i + 1/2) have / want)."""
    return ((2 * torch.arange(want) + 1) * have).div(2 * want, rounding_mode="floor")


def _first(edge: Tensor, have: int, want: int) -> Tensor:
    """The least output pixel i with floor((i + 1/2) have / want) >= edge."""
    return -((have - 2 * edge * want).div(2 * have, rounding_mode="floor"))
