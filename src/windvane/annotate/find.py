"""From images to boxes or masks, in one call."""

from typing import Literal

import torch

from windvane.annotate.annotation import Annotation
from windvane.annotate.boxes.lost import lost
from windvane.annotate.boxes.ncut import normalised_cut
from windvane.annotate.dense.base import DenseExtractor, dense_batches
from windvane.annotate.features.base import Images
from windvane.annotate.masks.segmenter import Segmenter, segment
from windvane.annotate.regions import BoxAnnotation, MaskAnnotation, Origin


def find_boxes(
    data: Images,
    extractor: DenseExtractor,
    *,
    method: Literal["lost", "ncut"] = "lost",
    centre: bool = True,
    patches: int = 100,
    threshold: float = 0.2,
    labels: Annotation | None = None,
    batch_size: int = 64,
    device: str | torch.device | None = None,
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
        progress: show a bar.

    Raises:
        ValueError: an unknown method, or labels of other images.
    """
    if method not in ("lost", "ncut"):
        raise ValueError(f"unknown method {method!r}; known: lost, ncut")
    if labels is not None:
        labels.check(data)
    size = (data.shape[-2], data.shape[-1])
    found = []
    for _, maps in dense_batches(
        extractor, data, batch_size=batch_size, device=device, progress=progress, description="boxes"
    ):
        if method == "lost":
            regions = lost(maps, patches=patches, centre=centre)
        else:
            regions = normalised_cut(maps, threshold=threshold, centre=centre)
        found.append(extractor.grid.to_pixels(regions.boxes, size).cpu())
    used = {"patches": patches} if method == "lost" else {"threshold": threshold}
    return BoxAnnotation(
        torch.cat(found),
        size=size,
        origin=Origin(method, extractor.name, {"centre": centre, **used}, data.fingerprint),
        ids=None if labels is None else labels.ids,
        k=None if labels is None else labels.k,
    )


def find_masks(
    data: Images, segmenter: Segmenter, *, batch_size: int = 64, progress: bool = True
) -> MaskAnnotation:
    """An id for every pixel of a data set, by a fitted segmenter."""
    masks = segment(segmenter, data, batch_size=batch_size, progress=progress)
    kind = getattr(segmenter, "kind", type(segmenter).__name__)
    origin = Origin(kind, segmenter.name, {"extractor": segmenter.extractor.name}, data.fingerprint)
    return MaskAnnotation(masks, segmenter.k, origin=origin)
