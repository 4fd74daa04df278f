"""What a dense extractor is, how it runs over a data set, and how its maps are brought to pixels."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from windvane.annotate.features.extraction import batches, kept_shards
from windvane.annotate.features.extractor import DenseExtractor, Images
from windvane.annotate.patch_grid import PatchGrid, patch_counts
from windvane.annotate.process_group import Group
from windvane.annotate.work import Work

__all__ = ["DenseExtractor", "dense_batches", "to_pixels", "warn_if_coarse"]

#: With fewer patches along the short side a warning is given.
FEW = 8


def warn_if_coarse(grid: PatchGrid, shape: tuple[int, int], stacklevel: int = 4) -> None:
    """Say so where an image ``(height, width)`` has too few patches for anything to be found among them."""
    found = min(patch_counts(grid, shape))
    if found < FEW:
        warnings.warn(
            f"an image of {shape[0]} x {shape[1]} pixels has only {found} patches of {grid.stride} pixels "
            "along its short side: what is found will be coarse, up to the whole image; take finer features "
            "(for a transformer a larger enlarge=) or larger images",
            stacklevel=stacklevel,
        )


def dense_batches(
    extractor: DenseExtractor,
    data: Images,
    *,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    cache: str | Path | None = None,
    group: Group | None = None,
    progress: bool = True,
    description: str = "dense features",
) -> Iterator[tuple[slice, Tensor]]:
    """The maps of a data set, batch by batch: (rows, ``(B, dim, h, w)`` float32), without gradients.

    Args:
        device: where to compute; an extractor with a ``to`` method is moved there. None moves nothing.
        cache: a folder; maps of the same extractor version and images are read from it, and are kept there
            shard by shard first, 4 * dim * h * w bytes an image.
        group: processes that share the work and all get all maps; they need a ``cache``.

    Raises:
        ValueError: no images, or maps of another shape than the extractor promises, or not finite.
    """
    work = Work.of(batch_size, device, cache, group, progress)
    return dense_maps(extractor, data, work, description)


def dense_maps(
    extractor: DenseExtractor, data: Images, work: Work, description: str = "dense features"
) -> Iterator[tuple[slice, Tensor]]:
    """:func:`dense_batches`, by the work as one value."""
    size, device = work.batch_size, work.device
    if len(data) == 0 or size < 1:
        raise ValueError(f"need images and batch_size >= 1, got {len(data)} images, batch_size={size}")
    work.check()
    if work.cache is None:
        for rows, made in batches(extractor, data, [slice(0, len(data))], work, task=description):
            yield rows, made.float()
        return
    shards = kept_shards(extractor, data, work)
    for index in range(shards.count):
        held, of = shards.read(index), shards.rows(index)
        for start in range(0, len(held), size):
            maps = held[start : start + size]
            rows = slice(of.start + start, of.start + start + len(maps))
            yield rows, maps if device is None else maps.to(device)


def to_pixels(
    maps: Tensor,
    grid: PatchGrid,
    shape: tuple[int, int],
    *,
    mode: Literal["bilinear", "nearest"] = "bilinear",
) -> Tensor:
    """Maps on patches ``(B, D, h, w)`` as maps on pixels ``(B, D, height, width)``.

    "bilinear" interpolates between the centres of the patches, i * stride + size / 2, and keeps the border's
    values outside them. "nearest" gives every pixel the patch that stands for it in
    :meth:`PatchGrid.to_pixels`, so that masks and boxes agree.
    """
    if maps.shape[-2:] != patch_counts(grid, shape):
        raise ValueError(
            f"maps of {tuple(maps.shape[-2:])} patches do not fit {grid} on {shape[0]} x {shape[1]} pixels"
        )
    if mode == "nearest":
        lines, columns = (_nearest(grid, n, m).to(maps.device) for n, m in zip(shape, maps.shape[-2:]))
        return maps[:, :, lines][:, :, :, columns]
    down, across = (_weights(grid, n, m).to(maps) for n, m in zip(shape, maps.shape[-2:]))
    return down @ maps @ across.T


def _nearest(grid: PatchGrid, pixels: int, patches: int) -> Tensor:
    margin = (grid.size - grid.stride) // 2
    return ((torch.arange(pixels) - margin).div(grid.stride, rounding_mode="floor")).clamp(0, patches - 1)


def _weights(grid: PatchGrid, pixels: int, patches: int) -> Tensor:
    """Interpolation as a matrix ``(pixels, patches)``."""
    place = (torch.arange(pixels).double() + 0.5 - grid.size / 2) / grid.stride
    place = place.clamp(0, patches - 1)
    below = place.floor().long().clamp(max=max(patches - 2, 0))
    part = place - below
    weights = torch.zeros(pixels, patches, dtype=torch.float64)
    weights.scatter_(1, below[:, None], 1 - part[:, None])
    if patches > 1:
        weights.scatter_(1, below[:, None] + 1, part[:, None])
    return weights
