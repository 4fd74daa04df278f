"""Boxes and masks as COCO-style JSON: ``images``, ``annotations``, ``categories``.

Boxes are ``bbox`` [x, y, width, height] in pixels. Masks are uncompressed run lengths: ``counts`` of pixels
outside, inside, outside, ... of one category, down the columns from the left, and ``size`` [height, width].
Format: Lin et al. 2014 (arXiv 1405.0312) and its data page.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from windvane.annotate.features.base import Images
from windvane.annotate.regions import BoxAnnotation, MaskAnnotation, Origin
from windvane.files import atomic_write_json

Source = str | Path | Mapping[str, Any]


def to_coco(
    annotation: BoxAnnotation | MaskAnnotation, *, names: Sequence[str] | None = None
) -> dict[str, Any]:
    """The JSON value of boxes or masks; cluster j is the category of id j + 1.

    Args:
        annotation: the boxes or masks.
        names: file names of the images; None numbers them.

    Raises:
        ValueError: another number of names than images.
    """
    n, (height, width) = len(annotation), annotation.size
    names = [f"{i:06d}.png" for i in range(n)] if names is None else list(names)
    if len(names) != n:
        raise ValueError(f"{len(names)} names for {n} images")
    images = [{"id": i, "file_name": name, "width": width, "height": height} for i, name in enumerate(names)]
    if isinstance(annotation, BoxAnnotation):
        entries = [_box_entry(i, box) for i, box in zip(annotation.owner.tolist(), annotation.boxes.tolist())]
        categories = [{"id": 1, "name": "object"}]
    else:
        entries = [entry for i, mask in enumerate(annotation.masks) for entry in _mask_entries(i, mask)]
        categories = [{"id": j + 1, "name": f"cluster {j}"} for j in range(annotation.k)]
    for number, entry in enumerate(entries, 1):
        entry["id"] = number
    return {"images": images, "annotations": entries, "categories": categories}


def write_coco(
    annotation: BoxAnnotation | MaskAnnotation, path: str | Path, *, names: Sequence[str] | None = None
) -> None:
    """Write :func:`to_coco` to a file, at once."""
    atomic_write_json(path, to_coco(annotation, names=names))


def _box_entry(image: int, box: list[int]) -> dict[str, Any]:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return {
        "image_id": image,
        "category_id": 1,
        "bbox": [left, top, width, height],
        "area": width * height,
        "iscrowd": 0,
    }


def _mask_entries(image: int, mask: Tensor) -> list[dict[str, Any]]:
    entries = []
    for cluster in mask.unique().tolist():
        inside = mask == cluster
        lines, columns = inside.any(dim=1).nonzero()[:, 0], inside.any(dim=0).nonzero()[:, 0]
        left, top = int(columns[0]), int(lines[0])
        entries.append(
            {
                "image_id": image,
                "category_id": cluster + 1,
                "segmentation": {"size": list(mask.shape), "counts": run_lengths(inside)},
                "bbox": [left, top, int(columns[-1]) + 1 - left, int(lines[-1]) + 1 - top],
                "area": int(inside.sum()),
                "iscrowd": 1,
            }
        )
    return entries


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
    runs = torch.tensor(list(counts), dtype=torch.int64)
    if len(runs) and int(runs.min()) < 0 or int(runs.sum()) != size[0] * size[1]:
        raise ValueError(
            f"run lengths sum to {int(runs.sum())} pixels, a mask of {size[0]} x {size[1]} needs all"
        )
    flat = (torch.arange(len(runs)) % 2 == 1).repeat_interleave(runs)
    return flat.reshape(size[1], size[0]).T.contiguous()


class _File:
    """A COCO file that was read: images in order, their common size, entries by image."""

    def __init__(self, source: Source, data: Images | None) -> None:
        value = _parsed(source)
        self.where = "the given value" if isinstance(source, Mapping) else str(source)
        try:
            images, self.entries = list(value["images"]), list(value["annotations"])
            sizes = {(int(image["height"]), int(image["width"])) for image in images}
            ids = [image["id"] for image in images]
            self.categories = sorted(int(c["id"]) for c in value.get("categories", []))
        except (KeyError, TypeError, ValueError) as error:
            raise self.damaged(f"{error!r}") from error
        if not images or len(sizes) != 1:
            raise self.damaged(f"it needs images of one size, got {len(images)} of sizes {sorted(sizes)[:3]}")
        if len(set(ids)) != len(ids):
            raise self.damaged("two images have the same id")
        self.size = sizes.pop()
        self.rows = dict(zip(ids, range(len(ids)) if data is None else self._rows(images, data)))
        self.n = len(images) if data is None else len(data)
        if data is not None and tuple(data.shape[-2:]) != self.size:
            raise ValueError(
                f"{self.where} is about images of {self.size[0]} x {self.size[1]} pixels, the data have "
                f"{data.shape[-2]} x {data.shape[-1]}"
            )
        self.fingerprint = "" if data is None else data.fingerprint

    def _rows(self, images: list[dict[str, Any]], data: Images) -> list[int]:
        names = getattr(data, "names", None)
        listed = [image.get("file_name") for image in images]
        if names is not None and set(listed) <= set(names):
            if len(set(names)) != len(names) or len(set(listed)) != len(listed):
                raise self.damaged("file names are not unique, so boxes cannot be told apart by them")
            place = {name: i for i, name in enumerate(names)}
            return [place[str(name)] for name in listed]
        if len(images) != len(data):
            raise ValueError(
                f"{self.where} has {len(images)} images whose file names are not those of the data's "
                f"{len(data)} images"
            )
        return list(range(len(images)))

    def damaged(self, why: str) -> ValueError:
        return ValueError(f"{self.where} is no usable COCO file: {why}")

    def row(self, entry: Mapping[str, Any]) -> int:
        if entry.get("image_id") not in self.rows:
            raise self.damaged(
                f"annotation {entry.get('id')} is of image {entry.get('image_id')!r}, not listed"
            )
        return self.rows[entry["image_id"]]


def _parsed(source: Source) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no usable COCO file: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is no usable COCO file: it holds a {type(value).__name__}")
    return value


def boxes_from_coco(source: Source, *, data: Images | None = None) -> BoxAnnotation:
    """The boxes of a COCO-style file; categories are not looked at.

    Args:
        source: a file, or its parsed value. All images must have one size.
        data: the images; boxes go to the image of the same file name where the data have names and the file
            uses them, else by order. Without it the order of the file is kept.

    Raises:
        ValueError: damaged files, images of another size or unknown ones, boxes outside of their image.
    """
    file = _File(source, data)
    boxes, owner = [], []
    for entry in file.entries:
        try:
            x, y, width, height = (float(v) for v in entry["bbox"])
        except (KeyError, TypeError, ValueError) as error:
            raise file.damaged(f"annotation {entry.get('id')} has no bbox of four numbers") from error
        boxes.append([round(x), round(y), round(x + width), round(y + height)])
        owner.append(file.row(entry))
    try:
        return BoxAnnotation(
            torch.tensor(boxes, dtype=torch.int64).reshape(-1, 4),
            owner=torch.tensor(owner, dtype=torch.int64),
            n=file.n,
            size=file.size,
            origin=Origin("coco", fingerprint=file.fingerprint),
        )
    except ValueError as error:
        raise file.damaged(str(error)) from error


def masks_from_coco(
    source: Source, *, data: Images | None = None, background: int | None = None
) -> MaskAnnotation:
    """The masks of a COCO-style file, uncompressed run lengths; ids count the categories by rising id.

    Args:
        source: a file, or its parsed value.
        data: the images, as for :func:`boxes_from_coco`.
        background: id for pixels without any mask; None refuses them.

    Raises:
        ValueError: damaged files, other encodings (polygons), masks of another size, categories that are not
            listed, pixels with two ids or with none.
    """
    file = _File(source, data)
    ids = {category: i for i, category in enumerate(file.categories)}
    if len(ids) > 255:
        raise file.damaged(f"masks have at most 255 categories, it lists {len(ids)}")
    masks = torch.full((file.n, *file.size), 255, dtype=torch.uint8)
    for entry in file.entries:
        row, number, coded = file.row(entry), entry.get("id"), entry.get("segmentation")
        if not isinstance(coded, Mapping) or not isinstance(coded.get("counts"), list):
            raise file.damaged(f"annotation {number} has no uncompressed run lengths (polygons are not read)")
        if tuple(coded.get("size", ())) != file.size:
            raise file.damaged(
                f"annotation {number} has a mask of {coded.get('size')}, not {list(file.size)}"
            )
        if entry.get("category_id") not in ids:
            raise file.damaged(
                f"annotation {number} has the category {entry.get('category_id')!r}, not listed"
            )
        try:
            inside = from_run_lengths(coded["counts"], file.size)
        except (TypeError, ValueError) as error:
            raise file.damaged(f"annotation {number}: {error}") from error
        if bool((masks[row][inside] != 255).any()):
            raise file.damaged(f"annotation {number} covers pixels that have an id already")
        masks[row][inside] = ids[entry["category_id"]]
    bare = int((masks == 255).sum())
    if bare and background is None:
        raise file.damaged(f"{bare} pixels have no id; give background= for them")
    if bare:
        masks[masks == 255] = int(background or 0)
    k = max(len(ids), 0 if background is None else background + 1)
    return MaskAnnotation(masks, k, origin=Origin("coco", fingerprint=file.fingerprint))
