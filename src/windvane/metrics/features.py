"""From images to the rows that metrics work on."""

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from windvane.progress import track

#: The largest magnitude of features, and the inverse of the smallest.
_LARGEST = 1e50


@runtime_checkable
class ImageSource(Protocol):
    """Images that are read when asked for; `windvane.data.ImageData` is one."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Tensor:
        """Images ``(B, C, H, W)`` in [-1, 1] at ``indices`` (B,)."""
        ...


Images = Tensor | ImageSource


class Extractor(Protocol):
    """Maps images ``(B, C, H, W)`` in [-1, 1] to features ``(B, D)``; `name` tells its version.

    An attribute `resize` (text) that says how pictures reach the extractor's size is recorded when there is
    one.
    """

    @property
    def name(self) -> str: ...

    def __call__(self, images: Tensor) -> Tensor: ...


class Pixels:
    """The pixels themselves as features, ``(B, C·H·W)``."""

    name = "pixels"
    resize = "none"

    def __call__(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def iterate_images(
    images: Images,
    *,
    batch_size: int = 256,
    clip: bool = True,
    device: torch.device | str | None = None,
    description: str = "reading",
    progress: bool = False,
) -> Iterator[Tensor]:
    """Batches of ``images`` as float32 on ``device`` (None: the CPU).

    Pictures (n, C, H, W) are clipped to [-1, 1] if ``clip``, as storing them does; samplers overshoot
    slightly. Values beyond ±3 are refused: they are 8-bit numbers or a diverged sampler, and no metric
    would say so. Vectors (n, D) may have any finite values.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    _check_images(images)
    starts = range(0, len(images), batch_size)
    for start in track(starts, description, total=len(starts), enabled=progress):
        rows = torch.arange(start, min(start + batch_size, len(images)))
        batch = images[rows] if isinstance(images, Tensor) else images.batch(rows)
        batch = batch.detach().to(device or "cpu", torch.float32)
        peak = batch.abs().max().item()
        if not peak < float("inf"):
            raise ValueError(f"images must be finite; rows {start}..{start + len(rows) - 1} are not")
        if batch.ndim == 4 and peak > 3:
            raise ValueError(
                f"images must lie in [-1, 1], found the magnitude {peak:g} in rows {start}.."
                f"{start + len(rows) - 1}; scale 8-bit images by x / 127.5 - 1"
            )
        yield batch.clamp(-1, 1) if clip and batch.ndim == 4 else batch


def _check_images(images: Images) -> None:
    if isinstance(images, Tensor):
        if images.ndim < 2:
            raise ValueError(
                f"images must have the shape (n, channels, height, width), got {tuple(images.shape)}"
            )
        if not images.is_floating_point():
            raise ValueError(
                f"images must be floating point in [-1, 1], got {images.dtype}; use x / 127.5 - 1"
            )
    elif not isinstance(images, ImageSource):
        raise ValueError(
            "images must be a tensor (n, C, H, W) or have len() and batch(indices), "
            f"got {type(images).__name__}"
        )
    if len(images) == 0:
        raise ValueError("there are no images to measure")


def image_shape(images: Images) -> tuple[int, ...]:
    """Shape of one image."""
    _check_images(images)
    if isinstance(images, Tensor):
        return tuple(images.shape[1:])
    return tuple(images.batch(torch.arange(1)).shape[1:])


def map_images(
    images: Images,
    function: Callable[[Tensor], Tensor],
    *,
    batch_size: int = 256,
    clip: bool = True,
    device: torch.device | str | None = None,
    description: str = "measuring",
    progress: bool = False,
) -> Tensor:
    """``function`` of every image, batch by batch, as one CPU tensor with len(images) rows."""
    batches = iterate_images(
        images, batch_size=batch_size, clip=clip, device=device, description=description, progress=progress
    )
    with torch.no_grad():
        return torch.cat([function(batch).detach().cpu() for batch in batches])


def extract_features(
    images: Images,
    extractor: Extractor,
    *,
    batch_size: int = 256,
    clip: bool = True,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> Tensor:
    """Features ``(n, D)`` of all images, on the CPU in the extractor's precision.

    The extractor gets its images on ``device`` and has to be there already.
    """
    name = extractor_name(extractor)
    return map_images(
        images,
        lambda batch: checked_features(extractor(batch), len(batch), name),
        batch_size=batch_size,
        clip=clip,
        device=device,
        description=f"features {name}",
        progress=progress,
    )


def feature_parts(
    images: Images,
    extractor: Extractor,
    *,
    values: int = 2**24,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> Iterator[Tensor]:
    """As :func:`extract_features`, in parts of about ``values`` numbers: for sets that would fill memory."""
    name, kept, rows = extractor_name(extractor), [], 0
    batches = iterate_images(
        images, batch_size=batch_size, device=device, description=f"features {name}", progress=progress
    )
    for batch in batches:
        with torch.no_grad():
            kept.append(checked_features(extractor(batch), len(batch), name).detach().cpu())
        rows += len(batch)
        if rows * kept[0].shape[1] >= values:
            yield torch.cat(kept)
            kept, rows = [], 0
    if kept:
        yield torch.cat(kept)


def extractor_name(extractor: Extractor) -> str:
    """The extractor's version string; a feature space without a name cannot be compared with anything."""
    name = getattr(extractor, "name", None)
    if not callable(extractor) or not isinstance(name, str) or not name:
        raise ValueError(
            f"an extractor is a callable with a text attribute `name` for its version, got {extractor!r}"
        )
    return name


def extractor_resize(extractor: Extractor, shape: tuple[int, ...]) -> str:
    """What is known of how pictures of ``shape`` (C, H, W) reach the extractor."""
    size = "x".join(str(side) for side in shape[1:]) or str(shape[0])
    stated = getattr(extractor, "resize", None)
    if stated == "none":
        return f"none ({size})"
    if isinstance(stated, str):
        return f"{stated} (from {size})"
    return f"as in the extractor's name (from {size})"


def double_features(features: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Checked rows of samples and reference in float64, on the samples' CUDA device or else the processor."""
    device = features.device if features.device.type == "cuda" else torch.device("cpu")
    rows = checked_features(features, name="sample features").detach().to(device, torch.float64)
    others = checked_features(reference, name="reference features").detach().to(device, torch.float64)
    return rows, others


def checked_features(features: Tensor, rows: int | None = None, name: str = "features") -> Tensor:
    """``features`` unchanged if they are finite and two-dimensional with the number of rows expected.

    Their squares, and what metrics multiply these with, must fit into float64: numbers all below 1e-50, or
    one beyond 1e50, are refused.
    """
    if features.ndim != 2 or (rows is not None and len(features) != rows):
        expected = "(n, D)" if rows is None else f"({rows}, D)"
        raise ValueError(f"{name} must have the shape {expected}, got {tuple(features.shape)}")
    broken = (~torch.isfinite(features)).any(1)
    if broken.any():
        first = int(broken.nonzero()[0])
        raise ValueError(
            f"{name}: {int(broken.sum())} of {len(features)} rows are not finite, first is row {first}"
        )
    largest = float(features.detach().abs().max()) if features.numel() else 0.0
    if largest > _LARGEST or 0 < largest < 1 / _LARGEST:
        raise ValueError(
            f"{name} reach {largest:.3g}: distances of numbers beyond {_LARGEST:g}, or all below "
            f"{1 / _LARGEST:g}, leave float64; scale samples and reference alike"
        )
    return features
