"""Boxes and masks from COCO-style JSON, in the pixels of the data; the format: :mod:`.coco_export`."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from windvane.annotate.features.extractor import Images
from windvane.annotate.regions import BoxAnnotation, MaskAnnotation, Origin
from windvane.annotate.regions.boxes.coco_entries import Entries
from windvane.annotate.regions.boxes.coco_export import NAMES
from windvane.annotate.regions.boxes.coco_file import CocoFile, Source
from windvane.data.placement import Placement

#: Which of two masks a pixel belongs to that lies in both.
Overlap = Literal["smaller", "later", "refuse"]


def boxes_from_coco(
    source: Source,
    *,
    data: Images | None = None,
    size: tuple[int, int] | None = None,
    fit: Literal["crop", "pad", "stretch"] | None = None,
    crowds: bool = True,
    strict: bool = False,
) -> BoxAnnotation:
    """The boxes of a COCO-style file; categories are not looked at.

    A box becomes the pixels whose centres lie in it, at least one; what a crop cuts off is left out, and a
    box outside of it altogether. A box that leaves its image is clipped. ``origin.settings`` counts the boxes
    and images that were left out: boxes of no area, outside of their image or of no four numbers, and
    annotations of images that are not listed.

    Args:
        source: a file, or its parsed value.
        data: the images. Boxes go to the image of the same file name, and images of the file that are not
            among the data are passed over; data that are no files go by their order.
        size: without data, the (height, width) to bring the images to; None needs them to have one size.
        fit: how the data were brought to their size; None says "crop" of image files and "stretch" of arrays.
        crowds: take entries that are marked as crowds, too.
        strict: refuse the file for a box that would be left out or clipped.

    Raises:
        ValueError: damaged files, images that the file does not list.
    """
    file = CocoFile(source, data, size=size, fit=fit)
    entries = Entries(file, strict=strict, crowds=crowds)
    boxes, owner, outside = [], [], 0
    for row, (place, corners) in entries.each(lambda entry, place: (place, entries.corners(entry, place))):
        seen = place.box_in(corners)
        if seen is None:
            outside += 1
            continue
        boxes.append(seen)
        owner.append(row)
    ids, k = file.clusters or (None, None)
    return BoxAnnotation(
        torch.tensor(boxes, dtype=torch.int64).reshape(-1, 4),
        owner=torch.tensor(owner, dtype=torch.int64),
        n=file.n,
        size=file.size,
        origin=_origin(file, {"outside_boxes": outside, **entries.counts}),
        ids=ids,
        k=k,
    )


def _origin(file: CocoFile, counts: Mapping[str, int], **more: Any) -> Origin:
    told = {"other_images": file.passed_over, **counts}
    settings = {name.replace(" ", "_"): count for name, count in told.items() if count}
    return Origin("coco", settings={**settings, **more}, fingerprint=file.fingerprint)


def masks_from_coco(
    source: Source,
    *,
    data: Images | None = None,
    size: tuple[int, int] | None = None,
    fit: Literal["crop", "pad", "stretch"] | None = None,
    background: int | Literal["next"] | None = None,
    overlap: Overlap = "smaller",
    strict: bool = False,
) -> MaskAnnotation:
    """The masks of a COCO-style file, run lengths or polygons; ids count the categories by rising id.

    A pixel has the id of the mask that lies under its centre. Run lengths are lists of numbers, or compressed
    to a text as the reference tools write them. ``origin.settings`` has names of categories and counts
    what was left out: images that are not in the data, masks that are empty, flat, damaged or of another size
    than their image, annotations of images or categories that are not listed.

    Args:
        source: a file, or its parsed value.
        data, size, fit: the images, as for :func:`boxes_from_coco`.
        background: id for pixels without any mask; "next" gives them the one after the categories, if there
            are any; None refuses them.
        overlap: which of two masks is on top where both lie: the one of fewer pixels ("smaller", of two equal
            ones the later) or the "later" one of the file; "refuse" refuses the file.
        strict: refuse the file for an annotation that would be left out.

    Raises:
        ValueError: damaged files; pixels without an id, or, where that is asked for, with two.
    """
    if overlap not in get_args(Overlap):
        raise ValueError(f"unknown overlap {overlap!r}; known: {', '.join(get_args(Overlap))}")
    file = CocoFile(source, data, size=size, fit=fit)
    entries = Entries(file, strict=strict)
    ids = {category: i for i, category in enumerate(file.categories)}
    if len(ids) > 255:
        raise file.damaged(f"masks have at most 255 categories, it lists {len(ids)}")
    masks = torch.full((file.n, *file.size), 255, dtype=torch.uint8)
    # The pixels of the mask on top, of which a smaller one may take some.
    sizes = torch.zeros((file.n, *file.size), dtype=torch.int32) if overlap == "smaller" else None
    under: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def read(entry: Mapping[str, Any], place: Placement) -> tuple[Mapping[str, Any], int, Tensor]:
        if place.source not in under:
            under[place.source] = place.under()
        category = entries.category(entry, ids)
        return entry, category, entries.inside(entry, place, under[place.source])

    for row, (entry, mine, inside) in entries.each(read):
        taken = inside & (masks[row] != 255) & (masks[row] != mine)
        if bool(taken.any()):
            if overlap == "refuse":
                raise file.damaged(
                    f"annotation {entry.get('id')} covers {int(taken.sum())} pixels that have an id already; "
                    "a pixel has one id"
                )
            entries.counts["overlapping masks"] += 1
        if sizes is not None:
            own = int(inside.sum())
            inside &= (sizes[row] == 0) | (sizes[row] >= own)
            sizes[row][inside] = own
        masks[row][inside] = mine
    bare = int((masks == 255).sum())
    if bare and background is None:
        raise file.damaged(f"{bare} pixels have no id; give background= for them")
    number = len(ids) if background in ("next", None) else int(background)  # type: ignore[arg-type]
    masks[masks == 255] = number
    k = max(len(ids), number + 1 if bare or isinstance(background, int) else 0)
    return MaskAnnotation(masks, k, origin=_origin(file, entries.counts, **{NAMES: file.names}))
