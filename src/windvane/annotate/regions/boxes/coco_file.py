"""A COCO-style file that was read: which of its images are which of the data's, and where they lie there."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from windvane.annotate.features.extractor import Images
from windvane.annotate.regions.boxes.coco_export import CLUSTER
from windvane.data.placement import Placement

Source = str | Path | Mapping[str, Any]

#: Proportions of a picture and of what the file says of it may differ by so much: rounding of a reduced copy.
_SLACK = 0.02


class CocoFile:
    """Images, entries and categories of a file, set against the data.

    Args:
        source: a file, or its parsed value.
        data: the images; those of the file that are not among them are passed over.
        size: without data, the (height, width) to bring the images to; None keeps theirs.
        fit: how the loader brought pictures to one size; None says "crop" of image files, else "stretch".

    Attributes:
        where: the name for messages.
        entries, categories: the annotations as they are written, the ids of categories by size.
        names: of the categories, in this order; the number of one that has no name.
        n, size: how many images of which (height, width) the result has.
        rows: the image of the result for each image id; None for one that is not in the data.
        clusters: image-level ids ``(n,)`` and how many there are, where the file has them.

    Raises:
        ValueError: damaged files; images of the data that the file has not; sizes that are not the pictures'.
    """

    def __init__(
        self, source: Source, data: Images | None, *, size: tuple[int, int] | None, fit: str | None
    ) -> None:
        value = parsed(source)
        self.where = "the given value" if isinstance(source, Mapping) else str(source)
        try:
            images, self.entries = list(value["images"]), list(value["annotations"])
            told = [_size(image) for image in images]
            # An image without an id has no annotations; it is listed all the same.
            ids = [image.get("id", object()) for image in images]
            ids = [one if (known := key_of(one)) is None else known for one in ids]
            different = len(set(ids))
            named = _named(value.get("categories") or [], self.entries)
            self.categories = sorted(number for number, _ in named)
            self.names = [name for _, name in sorted(named)]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self.damaged(f"{error!r}") from error
        if not images:
            raise self.damaged("it needs images of at least one pixel, it has none")
        if different != len(ids) or len(set(self.categories)) != len(self.categories):
            raise self.damaged("two images, or two categories, have the same id")
        found = list(range(len(images))) if data is None else self._rows(images, data)
        sizes = self._sizes_of(told, found, data)
        if min(min(one) for one in sizes) < 1:
            raise self.damaged("it needs images of at least one pixel")
        if data is None and size is None and len(set(sizes)) != 1:
            raise self.damaged(
                f"it needs images of one size, got {len(images)} of sizes {sorted(set(sizes))[:3]}"
            )
        self.size = (data.shape[-2], data.shape[-1]) if data is not None else size or sizes[0]
        self.rows: dict[Any, int | None] = dict(zip(ids, found))
        self.n = len(images) if data is None else len(data)
        self.fingerprint = "" if data is None else data.fingerprint
        if data is not None:
            self._check_sizes(images, sizes, found, data)
        files = data is None or getattr(data, "scan", None) is not None
        self._fit = fit or ("crop" if files else "stretch")
        self._sizes = dict(zip(ids, sizes))
        self._places: dict[tuple[int, int], Placement] = {}
        self.clusters = self._clusters(images, found)

    def damaged(self, why: str) -> ValueError:
        return ValueError(f"{self.where} is no usable COCO file: {why}")

    @property
    def passed_over(self) -> int:
        """How many of the file's images are not in the data."""
        return sum(row is None for row in self.rows.values())

    def row(self, entry: Mapping[str, Any]) -> int | None:
        """The image of an annotation; None for one that is not in the data.

        Raises:
            KeyError: an annotation of an image that is not listed.
        """
        image = entry.get("image_id") if isinstance(entry, Mapping) else None
        known = key_of(image)
        if known is None or known not in self.rows:
            raise KeyError(image)
        return self.rows[known]

    def place(self, entry: Mapping[str, Any]) -> Placement:
        """Where the image of an annotation lies in the result."""
        source = self._sizes[key_of(entry["image_id"])]
        if source not in self._places:
            self._places[source] = Placement.of(source, self.size, self._fit)
        return self._places[source]

    def _sizes_of(
        self, told: Sequence[tuple[int, int] | None], found: Sequence[int | None], data: Images | None
    ) -> list[tuple[int, int]]:
        """(height, width) of each image; where the file does not tell, those of the picture itself.

        Of an image that is not among the data nothing will be asked, so any size will do.
        """
        scan, names = getattr(data, "scan", None), getattr(data, "names", None)
        known: Mapping[str, tuple[int, int]] = {} if scan is None or None not in told else scan.sizes()
        sizes = []
        for size, row in zip(told, found):
            if size is None and row is not None:
                size = known.get(names[row]) if names is not None else None
                if size is None:
                    raise self.damaged("its images need height and width")
            sizes.append(size or (1, 1))
        return sizes

    def _rows(self, images: Sequence[Mapping[str, Any]], data: Images) -> list[int | None]:
        """By file name; by place in the whole set where the data are no files and have no names."""
        names = [str(name) for name in getattr(data, "names", None) or []]
        # An image that names no file is none of the data's.
        listed = [str(image.get("file_name") or "\0") for image in images]
        place = {name: i for i, name in enumerate(names)}
        if not set(listed) & set(place):
            # The file may name pictures by their last part only, or with more of their path than the data.
            place = {_last(name): i for i, name in enumerate(names)}
            listed = [_last(name) for name in listed]
        found = [place.get(name) for name in listed]
        known = {row for row in found if row is not None}
        if known:
            if len(place) != len(names) or len(known) != len(found) - found.count(None):
                raise self.damaged("file names are not unique, so images cannot be told apart by them")
            lost = sorted(set(range(len(data))) - known)
            if lost:
                raise ValueError(
                    f"{self.where} lists {len(images)} images, and {len(lost)} of the data's {len(data)} are "
                    f"not among them, first {names[lost[0]]!r}"
                )
            return found
        return self._by_order(len(images), data, names)

    def _by_order(self, count: int, data: Images, names: Sequence[str]) -> list[int | None]:
        files = getattr(data, "scan", None) is not None
        if count == len(data) and not files:
            return list(range(count))
        # Data without names number their images; a part of them keeps the numbers that it had in the whole.
        if not files and names and all(name.isdecimal() and int(name) < count for name in names):
            found: list[int | None] = [None] * count
            for row, name in enumerate(names):
                found[int(name)] = row
            return found
        raise ValueError(
            f"{self.where} has {count} images whose file names are not those of the data's {len(data)} images"
        )

    def _check_sizes(
        self,
        images: Sequence[Mapping[str, Any]],
        sizes: Sequence[tuple[int, int]],
        found: Sequence[int | None],
        data: Images,
    ) -> None:
        """Refuse sizes that are neither those of the data nor have the proportions of the pictures."""
        scan, names = getattr(data, "scan", None), getattr(data, "names", None)
        known: Mapping[str, tuple[int, int]] = {} if scan is None or names is None else scan.sizes()
        for image, size, row in zip(images, sizes, found):
            if row is None or size == self.size:
                continue
            true = known.get(names[row]) if known and names is not None else None
            if true is not None and abs(size[0] * true[1] / (size[1] * true[0]) - 1) > _SLACK:
                raise ValueError(
                    f"{self.where} says that {image.get('file_name')!r} has {size[0]} x {size[1]} pixels "
                    f"(height x width), the picture has {true[0]} x {true[1]}"
                )

    def _clusters(
        self, images: Sequence[Mapping[str, Any]], found: Sequence[int | None]
    ) -> tuple[Tensor, int] | None:
        told = {row: image.get(CLUSTER) for image, row in zip(images, found) if row is not None}
        if all(one is None for one in told.values()):
            return None
        k = len(self.categories)
        for row, one in told.items():
            if not isinstance(one, int) or isinstance(one, bool) or not 0 <= one < k:
                raise self.damaged(
                    f"each image needs a cluster from 0 to {k - 1}, as many as there are categories, "
                    f"image {row} has {one!r}"
                )
        return torch.tensor([told[row] for row in range(self.n)], dtype=torch.int64), k


def parsed(source: Source) -> Mapping[str, Any]:
    """The value in a file, or the one given.

    Raises:
        ValueError: no file, or one that holds no JSON object.
    """
    if isinstance(source, Mapping):
        return source
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no usable COCO file: {error}") from error
    except RecursionError:
        raise ValueError(f"{path} is no usable COCO file: it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} is no usable COCO file: it holds a {type(value).__name__}")
    return value


def key_of(value: Any) -> Any:
    """An id as it is compared: 3, 3.0 and "3" are one; None for what is no id."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str):
        return int(value) if value.isdecimal() and value.isascii() and len(value) < 19 else value
    return value if isinstance(value, int) else None


def _named(categories: Sequence[Any], entries: Sequence[Any]) -> list[tuple[int, str]]:
    """Ids and names of the categories; where none are listed, the ids that the entries have."""
    if categories:
        named = [(key_of(c.get("id")), c) for c in categories if isinstance(c, Mapping)]
        return [(key, str(c.get("name", c["id"]))) for key, c in named if isinstance(key, int)]
    used = {key_of(entry.get("category_id")) for entry in entries if isinstance(entry, Mapping)}
    return [(key, str(key)) for key in used if isinstance(key, int)]


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width), None where the file does not say."""
    if image.get("height") is None or image.get("width") is None:
        return None
    return int(image["height"]), int(image["width"])


def _last(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1]
