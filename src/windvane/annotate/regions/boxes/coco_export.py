"""Boxes and masks written as COCO-style JSON: ``images``, ``annotations``, ``categories``.

Boxes are ``bbox`` [x, y, width, height] in pixels. Masks are uncompressed run lengths: ``counts`` of pixels
outside, inside, outside, ... of one category, down the columns from the left, and ``size`` [height, width].
Format: Lin et al. 2014 (arXiv 1405.0312) and its data page. Image-level ids stand in ``cluster`` of each
image, an addition that other readers pass over.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from windvane.annotate.features.extractor import Images
from windvane.annotate.regions import BoxAnnotation, MaskAnnotation
from windvane.annotate.regions.boxes.outlines import run_lengths
from windvane.data.placement import Placement
from windvane.files import atomic_write_text

#: The key of an image's id in ``images``.
CLUSTER = "cluster"
#: Where the settings of imported masks have the names of the categories, by id.
NAMES = "names"
_DIGITS = 4


def to_coco(
    annotation: BoxAnnotation | MaskAnnotation,
    *,
    names: Sequence[str] | None = None,
    sizes: Sequence[tuple[int, int]] | None = None,
    fit: str = "crop",
) -> dict[str, Any]:
    """The JSON value of boxes or masks; cluster j is the category of id j + 1.

    Args:
        annotation: the boxes or masks.
        names: file names of the images; None numbers them.
        sizes: (height, width) of the pictures before they were brought to the annotation's size, such as
            :func:`original_sizes`; boxes and masks are then written in the pixels of those. None keeps the
            annotation's own pixels.
        fit: how they were brought to it: "crop", "pad" or "stretch".

    Raises:
        ValueError: another number of names or sizes than images.
    """
    n, size = len(annotation), annotation.size
    names = [f"{i:06d}.png" for i in range(n)] if names is None else list(names)
    sizes = [size] * n if sizes is None else list(sizes)
    if len(names) != n or len(sizes) != n:
        raise ValueError(f"{len(names)} names and {len(sizes)} sizes for {n} images")
    places = {one: Placement.of(one, size, fit) for one in set(sizes)}
    images = [
        {"id": i, "file_name": name, "width": width, "height": height}
        for i, (name, (height, width)) in enumerate(zip(names, sizes))
    ]
    entries = _ENTRIES[annotation.kind](annotation, [places[size] for size in sizes])
    if annotation.ids is not None:
        for image, cluster in zip(images, annotation.ids.tolist()):
            image[CLUSTER] = cluster
    known = annotation.origin.settings.get(NAMES, []) if annotation.named else []
    categories = [
        {"id": j + 1, "name": known[j] if j < len(known) else f"cluster {j}"}
        for j in range(annotation.k or 0)
    ]
    for number, entry in enumerate(entries, 1):
        entry["id"] = number
    return {
        "images": images,
        "annotations": entries,
        "categories": categories or [{"id": 1, "name": "object"}],
    }


def write_coco(
    annotation: BoxAnnotation | MaskAnnotation,
    path: str | Path,
    *,
    names: Sequence[str] | None = None,
    sizes: Sequence[tuple[int, int]] | None = None,
    fit: str = "crop",
) -> None:
    """Write :func:`to_coco` to a file, at once; run lengths are many, so nothing is indented."""
    # The name says whose file it is, so that a later export may replace it and no other.
    info = {"info": {"description": "regions written by windvane"}}
    value = info | to_coco(annotation, names=names, sizes=sizes, fit=fit)
    atomic_write_text(path, json.dumps(value, allow_nan=False) + "\n")


def original_sizes(data: Images) -> list[tuple[int, int]] | None:
    """(height, width) that each image has in its file, as it is shown; None for data that are no files."""
    scan, names = getattr(data, "scan", None), getattr(data, "names", None)
    if scan is None or names is None:
        return None
    known = scan.sizes()
    return [known[name] for name in names] if all(name in known for name in names) else None


def _box_entries(annotation: BoxAnnotation, places: Sequence[Placement]) -> list[dict[str, Any]]:
    ids = [0] * len(annotation) if annotation.ids is None else annotation.ids.tolist()
    owned = zip(annotation.owner.tolist(), annotation.boxes.tolist())
    written = [_box_entry(i, ids[i], box, places[i]) for i, box in owned]
    return [entry for entry in written if entry is not None]


def _masks_entries(annotation: MaskAnnotation, places: Sequence[Placement]) -> list[dict[str, Any]]:
    over = {place: place.over() for place in set(places)}
    return [
        entry for i, mask in enumerate(annotation.masks) for entry in _mask_entries(i, mask, over[places[i]])
    ]


_ENTRIES: dict[str, Callable[..., list[dict[str, Any]]]] = {"boxes": _box_entries, "masks": _masks_entries}


def _box_entry(image: int, cluster: int, box: Sequence[int], place: Placement) -> dict[str, Any] | None:
    """None for a box beside the picture, in the margin that "pad" puts there."""
    left, top, right, bottom = box
    if place.source != place.size:
        seen = place.box_out((left, top, right, bottom))
        if seen is None:
            return None
        left, top, right, bottom = (round(edge, _DIGITS) for edge in seen)  # type: ignore[assignment]
    width, height = round(right - left, _DIGITS), round(bottom - top, _DIGITS)
    return {
        "image_id": image,
        "category_id": cluster + 1,
        "bbox": [left, top, width, height],
        "area": width * height,
        "iscrowd": 0,
    }


def _mask_entries(image: int, mask: Tensor, over: tuple[Tensor, Tensor]) -> list[dict[str, Any]]:
    """One for each id, in a picture whose pixels lie ``over`` lines and columns of the mask."""
    lines, columns = over
    seen = ((lines >= 0) & (lines < mask.shape[0]))[:, None] & (columns >= 0) & (columns < mask.shape[1])
    large = mask[lines.clamp(0, mask.shape[0] - 1)][:, columns.clamp(0, mask.shape[1] - 1)]
    entries = []
    for cluster in mask.unique().tolist():
        inside = (large == cluster) & seen
        if not bool(inside.any()):
            continue
        down, across = inside.any(dim=1).nonzero()[:, 0], inside.any(dim=0).nonzero()[:, 0]
        left, top = int(across[0]), int(down[0])
        entries.append(
            {
                "image_id": image,
                "category_id": cluster + 1,
                "segmentation": {"size": list(inside.shape), "counts": run_lengths(inside)},
                "bbox": [left, top, int(across[-1]) + 1 - left, int(down[-1]) + 1 - top],
                "area": int(inside.sum()),
                # COCO has run lengths for crowds only, and readers pass those over; they read these as well.
                "iscrowd": 0,
            }
        )
    return entries
