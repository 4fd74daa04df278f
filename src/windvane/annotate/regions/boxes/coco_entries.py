"""Single annotations of a COCO-style file: what is usable of each, and what of the rest is counted."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from windvane.annotate.regions.boxes.coco_file import CocoFile, key_of
from windvane.annotate.regions.boxes.outlines import decompressed, filled, looked_up
from windvane.data.placement import Placement

#: An edge may leave its picture by so many pixels unnoticed: some programs round edges, and not sizes.
_SLACK = 0.5


class LeaveOut(ValueError):
    """An entry, or a part of it, that nothing can be made of; ``kind`` is what it is counted as."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


class Entries:
    """The annotations of a file, each with its image; those that nothing can be made of are counted.

    Args:
        file: the file.
        strict: refuse the file for the first of them instead, by name.
        crowds: take entries that are marked as crowds, too.

    Attributes:
        counts: how many were left out, or clipped, by kind.
    """

    def __init__(self, file: CocoFile, *, strict: bool, crowds: bool = True) -> None:
        self.file, self.strict, self.crowds = file, strict, crowds
        self.counts: Counter[str] = Counter()

    def note(self, kind: str, entry: Any, why: str) -> None:
        """Count something, or refuse the file for it."""
        if self.strict:
            number = entry.get("id") if isinstance(entry, Mapping) else entry
            raise self.file.damaged(f"annotation {number!r} {why}")
        self.counts[kind] += 1

    def each(self, read: "Callable[[Mapping[str, Any], Placement], Any]") -> Iterator[tuple[int, Any]]:
        """The image of each entry and what ``read`` makes of it; entries of images beside the data are passed
        over, and so are those that ``read`` leaves out."""
        for entry in self.file.entries:
            try:
                row = self.file.row(entry)
                if row is None or (_flag(entry.get("iscrowd")) and not self.crowds):
                    continue
                yield row, read(entry, self.file.place(entry))
            except LeaveOut as error:
                self.note(error.kind, entry, str(error))
            except KeyError as error:
                self.note(
                    "annotations of unknown images", entry, f"is of image {error.args[0]!r}, not listed"
                )

    def corners(self, entry: Mapping[str, Any], place: Placement) -> tuple[float, float, float, float]:
        """left, top, right, bottom of a box, clipped to its image."""
        height, width = place.source
        given = entry.get("bbox")
        try:
            x, y, across, down = (float(v) for v in given)  # type: ignore[union-attr]
        except (TypeError, ValueError, OverflowError):
            raise LeaveOut("unreadable boxes", f"has no bbox of four numbers, but {given!r:.80}") from None
        said = f"has the box {given} (x, y, width, height), which is empty or leaves its image of "
        said += f"{height} x {width}"
        if not all(abs(v) < 1e9 for v in (x, y, across, down)):
            raise LeaveOut("unreadable boxes", said)
        if across <= 0 or down <= 0:
            raise LeaveOut("boxes of no area", said)
        box = max(x, 0.0), max(y, 0.0), min(x + across, width), min(y + down, height)
        if box[0] >= box[2] or box[1] >= box[3]:
            raise LeaveOut("boxes outside of their image", said)
        if max(-x, -y, x + across - width, y + down - height) > _SLACK:
            self.note("clipped boxes", entry, said)
        return box

    def category(self, entry: Mapping[str, Any], known: Mapping[int, int]) -> int:
        """The number of an entry's category."""
        found = known.get(key_of(entry.get("category_id")))  # type: ignore[call-overload]
        if found is None:
            said = f"has the category {entry.get('category_id')!r}, not listed"
            raise LeaveOut("annotations of unknown categories", said)
        return int(found)

    def inside(self, entry: Mapping[str, Any], place: Placement, under: tuple[Tensor, Tensor]) -> Tensor:
        """Which pixels of the result lie over the mask of an annotation, bool ``(H, W)``."""
        coded = entry.get("segmentation")
        if isinstance(coded, Mapping):
            return _run_lengths(coded, place, under)
        if not isinstance(coded, Sequence) or isinstance(coded, str) or not coded:
            raise LeaveOut("empty masks", "has neither run lengths nor polygons")
        parts = [coded] if not any(isinstance(part, Mapping | list | tuple) for part in coded) else coded
        found, usable = torch.zeros(place.size, dtype=torch.bool), False
        for part in parts:
            try:
                mask = (
                    _run_lengths(part, place, under)
                    if isinstance(part, Mapping)
                    else self._polygon(entry, part, place)
                )
            except LeaveOut as error:
                self.note(error.kind, entry, str(error))
                continue
            found |= mask
            usable = True
        if not usable:
            raise LeaveOut("empty masks", "has no usable run lengths or polygons")
        return found

    def _polygon(self, entry: Mapping[str, Any], polygon: Any, place: Placement) -> Tensor:
        height, width = place.source
        try:
            values = [float(v) for v in polygon]
        except (TypeError, ValueError, OverflowError):
            raise LeaveOut("unreadable polygons", f"has a polygon of {polygon!r:.80}") from None
        edges = [*((x, width) for x in values[::2]), *((y, height) for y in values[1::2])]
        if any(not -_SLACK <= v <= side + _SLACK for v, side in edges if abs(v) < 1e9):
            self.note("clipped polygons", entry, f": its polygon leaves the image of {height} x {width}")
        y, x = (torch.arange(side, dtype=torch.float64) + 0.5 for side in place.size)
        try:
            inside = filled([values], place.top + y * place.down, place.left + x * place.across)
        except ValueError as error:
            kind = "polygons of fewer than three corners" if len(values) < 6 else "unreadable polygons"
            raise LeaveOut(kind, f": {error}") from None
        if _area(values) == 0:
            raise LeaveOut("polygons of no area", ": its polygon is flat")
        return inside & _shown(place)


def _run_lengths(coded: Mapping[str, Any], place: Placement, under: tuple[Tensor, Tensor]) -> Tensor:
    counts, size = coded.get("counts"), coded.get("size")
    try:
        sides = tuple(int(side) for side in size)  # type: ignore[union-attr]
    except (TypeError, ValueError, OverflowError):
        sides = ()
    if sides != place.source:
        said = f": its mask has the size {size!r:.80}, not {list(place.source)}"
        raise LeaveOut("masks of another size than their image", said)
    try:
        runs = decompressed(counts) if isinstance(counts, str | bytes) else [int(run) for run in counts]  # type: ignore[union-attr]
        return looked_up(runs, place.source, *under)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise LeaveOut("unreadable masks", f": {error}") from None


def _flag(value: Any) -> bool:
    try:
        return bool(float(value or 0))
    except (TypeError, ValueError, OverflowError):
        return bool(value)


def _area(values: Sequence[float]) -> float:
    """Whether a polygon is flat: 0 where all its corners lie on one line."""
    x, y = values[::2], values[1::2]
    return max(
        abs((a - x[0]) * (d - y[0]) - (c - x[0]) * (b - y[0])) for a, b in zip(x, y) for c, d in _far(x, y)
    )


def _far(x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    """The corner furthest from the first one: with it, any corner off the line spans a triangle."""
    return [max(zip(x, y), key=lambda at: (at[0] - x[0]) ** 2 + (at[1] - y[0]) ** 2)]


def _shown(place: Placement) -> Tensor:
    """The pixels of the result that show the picture, and not a margin."""
    lines, columns = place.under()
    return ((lines >= 0) & (lines < place.source[0]))[:, None] & (columns >= 0) & (columns < place.source[1])
