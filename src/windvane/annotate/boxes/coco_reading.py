"""Boxes and masks from COCO-style JSON, in the pixels of the data; the format is that of :mod:`.coco`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from windvane.annotate.boxes.coco import NAMES
from windvane.annotate.boxes.coco_file import CocoFile, Source
from windvane.annotate.boxes.outlines import filled, looked_up
from windvane.annotate.features.base import Images
from windvane.annotate.regions import BoxAnnotation, MaskAnnotation, Origin
from windvane.data.placement import Placement

#: A box may leave its picture by so many pixels: some programs round its edges, and not its size.
_SLACK = 0.5


def boxes_from_coco(
    source: Source,
    *,
    data: Images | None = None,
    size: tuple[int, int] | None = None,
    fit: Literal["crop", "pad", "stretch"] | None = None,
    crowds: bool = True,
) -> BoxAnnotation:
    """The boxes of a COCO-style file; categories are not looked at.

    A box becomes the pixels whose centres lie in it, at least one; what a crop cuts off is left out, and a
    box outside of it altogether. ``origin.settings`` counts the boxes and images that were left out.

    Args:
        source: a file, or its parsed value.
        data: the images. Boxes go to the image of the same file name, and images of the file that are not
            among the data are passed over; data that are no files go by their order.
        size: without data, the (height, width) to bring the images to; None needs them to have one size.
        fit: how the data were brought to their size; None says "crop" of image files and "stretch" of arrays.
        crowds: take entries that are marked as crowds, too.

    Raises:
        ValueError: damaged files, images that the file does not list, boxes outside of their image.
    """
    file = CocoFile(source, data, size=size, fit=fit)
    boxes, owner, outside = [], [], 0
    for entry in file.entries:
        row = file.row(entry)
        if row is None or (entry.get("iscrowd") and not crowds):
            continue
        place = file.place(entry)
        seen = place.box_in(_corners(file, entry, place.source))
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
        origin=_origin(file, outside_boxes=outside),
        ids=ids,
        k=k,
    )


def _origin(file: CocoFile, **counts: int) -> Origin:
    told = {"other_images": file.passed_over, **counts}
    settings = {name: count for name, count in told.items() if count}
    return Origin("coco", settings=settings, fingerprint=file.fingerprint)


def _corners(
    file: CocoFile, entry: Mapping[str, Any], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = (float(v) for v in entry["bbox"])
    except (KeyError, TypeError, ValueError) as error:
        raise file.damaged(f"annotation {entry.get('id')} has no bbox of four numbers") from error
    inside = (
        -_SLACK <= x and x + width <= size[1] + _SLACK and -_SLACK <= y and y + height <= size[0] + _SLACK
    )
    if not (inside and width > 0 and height > 0 and x < size[1] and y < size[0]):
        raise file.damaged(
            f"annotation {entry.get('id')} has the box {entry['bbox']} (x, y, width, height), which is empty "
            f"or leaves its image of {size[0]} x {size[1]}"
        )
    return x, y, x + width, y + height


def masks_from_coco(
    source: Source,
    *,
    data: Images | None = None,
    size: tuple[int, int] | None = None,
    fit: Literal["crop", "pad", "stretch"] | None = None,
    background: int | Literal["next"] | None = None,
) -> MaskAnnotation:
    """The masks of a COCO-style file, run lengths or polygons; ids count the categories by rising id.

    A pixel has the id of the mask that lies under its centre. ``origin.settings`` has the names of the
    categories, and counts images that were left out.

    Args:
        source: a file, or its parsed value.
        data, size, fit: the images, as for :func:`boxes_from_coco`.
        background: id for pixels without any mask; "next" gives them the one after the categories, if there
            are any; None refuses them.

    Raises:
        ValueError: damaged files, compressed run lengths, masks of another size, categories that are not
            listed, pixels with two ids or with none.
    """
    file = CocoFile(source, data, size=size, fit=fit)
    ids = {category: i for i, category in enumerate(file.categories)}
    if len(ids) > 255:
        raise file.damaged(f"masks have at most 255 categories, it lists {len(ids)}")
    masks = torch.full((file.n, *file.size), 255, dtype=torch.uint8)
    under: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    for entry in file.entries:
        row = file.row(entry)
        if row is None:
            continue
        category = entry.get("category_id")
        if not isinstance(category, int) or category not in ids:
            raise file.damaged(f"annotation {entry.get('id')} has the category {category!r}, not listed")
        place = file.place(entry)
        if place.source not in under:
            under[place.source] = place.under()
        inside = _inside(file, entry, place, under[place.source])
        mine = ids[category]
        taken = inside & (masks[row] != 255) & (masks[row] != mine)
        if bool(taken.any()):
            raise file.damaged(
                f"annotation {entry.get('id')} covers {int(taken.sum())} pixels that have an id already; "
                "a pixel has one id"
            )
        masks[row][inside] = mine
    bare = int((masks == 255).sum())
    if bare and background is None:
        raise file.damaged(f"{bare} pixels have no id; give background= for them")
    number = len(ids) if background in ("next", None) else int(background)  # type: ignore[arg-type]
    masks[masks == 255] = number
    k = max(len(ids), number + 1 if bare or isinstance(background, int) else 0)
    origin = _origin(file)
    return MaskAnnotation(masks, k, origin=replace(origin, settings={**origin.settings, NAMES: file.names}))


def _inside(
    file: CocoFile, entry: Mapping[str, Any], place: Placement, under: tuple[Tensor, Tensor]
) -> Tensor:
    """Which pixels of the result lie over the mask of an annotation, bool ``(H, W)``."""
    coded, number = entry.get("segmentation"), entry.get("id")
    try:
        if isinstance(coded, Mapping):
            if not isinstance(coded.get("counts"), list):
                raise ValueError("its run lengths are compressed; write them as a list of numbers")
            if tuple(coded.get("size", ())) != place.source:
                raise ValueError(f"its mask has the size {coded.get('size')}, not {list(place.source)}")
            return looked_up(coded["counts"], place.source, *under)
        if not isinstance(coded, list) or not coded:
            raise ValueError("it has neither run lengths nor polygons")
        return _polygons(coded, place)
    except (TypeError, ValueError, RuntimeError) as error:
        raise file.damaged(f"annotation {number}: {error}") from error


def _polygons(coded: Sequence[Any], place: Placement) -> Tensor:
    height, width = place.source
    for polygon in coded:
        values = [float(v) for v in polygon]
        edges = [*((x, width) for x in values[::2]), *((y, height) for y in values[1::2])]
        if not all(-_SLACK <= v <= side + _SLACK for v, side in edges):
            raise ValueError(f"its polygon leaves the image of {height} x {width}")
    y, x = (torch.arange(side, dtype=torch.float64) + 0.5 for side in place.size)
    inside = filled(coded, place.top + y * place.down, place.left + x * place.across)
    return inside & _shown(place)


def _shown(place: Placement) -> Tensor:
    """The pixels of the result that show the picture, and not a margin."""
    lines, columns = place.under()
    return ((lines >= 0) & (lines < place.source[0]))[:, None] & (columns >= 0) & (columns < place.source[1])
