"""From images to boxes or masks, in one call."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from windvane.annotate.annotation import Annotation
from windvane.annotate.boxes.lost import Regions, lost
from windvane.annotate.boxes.ncut import normalised_cut
from windvane.annotate.dense.base import DenseExtractor, dense_batches, to_pixels, warn_if_coarse
from windvane.annotate.features.base import Images
from windvane.annotate.masks.segmenter import Segmenter, segment
from windvane.annotate.regions import BoxAnnotation, MaskAnnotation, Origin

Method = Literal["lost", "ncut"]


def find_boxes(
    data: Images,
    extractor: DenseExtractor,
    *,
    method: Method = "lost",
    centre: bool = True,
    patches: int = 100,
    threshold: float = 0.2,
    labels: Annotation | None = None,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    cache: str | Path | None = None,
    progress: bool = True,
) -> BoxAnnotation:
    """One box for every image of a data set, without labels.

    Args:
        data: the images.
        extractor: dense features, fitted.
        method: "lost" (seed expansion) or "ncut" (normalised cut).
        centre: subtract each image's mean feature first; the published methods, on keys of DINO, do not.
        patches: how many patches may vote in LOST.
        threshold: cosine above which the normalised cut joins two patches.
        labels: image-level ids of the same images, to go beside the boxes in the condition.
        batch_size: images at once; N patches an image take N^2 numbers each.
        device: where to compute the features.
        cache: a folder where the features are kept in shards, so that a killed run goes on where it was; see
            :func:`dense_batches` for their size.
        progress: show a bar.

    Raises:
        ValueError: an unknown method, or labels of other images.
    """
    if labels is not None:
        labels.check(data)
    size = (data.shape[-2], data.shape[-1])
    warn_if_coarse(extractor.grid, size)
    batches = dense_batches(
        extractor,
        data,
        batch_size=batch_size,
        device=device,
        cache=cache,
        progress=progress,
        description="boxes",
    )
    find, used = _method(method, centre, patches, threshold)
    found = [extractor.grid.to_pixels(find(maps).boxes, size).cpu() for _, maps in batches]
    return BoxAnnotation(
        torch.cat(found),
        size=size,
        origin=Origin(method, extractor.name, used, data.fingerprint),
        ids=None if labels is None else labels.ids,
        k=None if labels is None else labels.k,
    )


def find_objects(
    data: Images,
    extractor: DenseExtractor,
    *,
    method: Method = "lost",
    centre: bool = True,
    patches: int = 100,
    threshold: float = 0.2,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    cache: str | Path | None = None,
    progress: bool = True,
) -> MaskAnnotation:
    """The patches of one object in every image as masks: 1 the object, 0 the background.

    The same objects as :func:`find_boxes` has boxes of, with the same arguments.
    """
    size = (data.shape[-2], data.shape[-1])
    warn_if_coarse(extractor.grid, size)
    batches = dense_batches(
        extractor,
        data,
        batch_size=batch_size,
        device=device,
        cache=cache,
        progress=progress,
        description="objects",
    )
    find, used = _method(method, centre, patches, threshold)
    masks = [
        to_pixels(find(maps).masks[:, None], extractor.grid, size, mode="nearest")[:, 0].cpu()
        for _, maps in batches
    ]
    origin = Origin(method, extractor.name, used, data.fingerprint)
    return MaskAnnotation(torch.cat(masks).to(torch.uint8), 2, origin=origin)


def _method(
    name: str, centre: bool, patches: int, threshold: float
) -> tuple[Callable[[Tensor], Regions], dict[str, Any]]:
    """The function of a name with its settings, and what to note about it."""
    if name == "lost":
        return partial(lost, patches=patches, centre=centre), {"centre": centre, "patches": patches}
    if name == "ncut":
        used = {"centre": centre, "threshold": threshold}
        return partial(normalised_cut, threshold=threshold, centre=centre), used
    raise ValueError(f"unknown method {name!r}; known: lost, ncut")


def find_masks(
    data: Images, segmenter: Segmenter, *, batch_size: int = 64, progress: bool = True
) -> MaskAnnotation:
    """An id for every pixel of a data set, by a fitted segmenter."""
    warn_if_coarse(segmenter.extractor.grid, (data.shape[-2], data.shape[-1]))
    masks = segment(segmenter, data, batch_size=batch_size, progress=progress)
    kind = getattr(segmenter, "kind", type(segmenter).__name__)
    origin = Origin(kind, segmenter.name, {"extractor": segmenter.extractor.name}, data.fingerprint)
    return MaskAnnotation(masks, segmenter.k, origin=origin)
