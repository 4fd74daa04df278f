"""Reading a set of images before anything depends on it: what is there, what is damaged, what repeats."""

import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from windvane.data.decode import MAX_PIXELS, Decoder, quiet_pillow
from windvane.data.duplicates import exact_groups, near_groups
from windvane.data.inspection import Entry, Inspection, inspect
from windvane.data.listing import Listing, list_images, nothing_found
from windvane.data.parallel import ordered_map
from windvane.progress import track
from windvane.terminal_text import escaped


@dataclass(frozen=True)
class Scan:
    """What a set of image files holds.

    Attributes:
        root: where was looked.
        readable: names of the readable images, in order.
        unreadable: (name, reason) of the others; a reason is "kind" or "kind: detail".
        ignored: files passed over, counted by ending ("hidden" for names that begin with a dot).
        dimensions: (width, height) as stored, for each readable image.
        turned: names of those whose EXIF rotation swaps width and height (empty after a scan of headers).
        formats, modes: readable images by file format and by Pillow mode.
        exact_duplicates: groups of names with the same bytes (empty after a scan of headers).
        near_duplicates: groups of names that look alike, beyond exact copies; a hint, not a verdict.
    """

    root: str
    readable: list[str]
    unreadable: list[tuple[str, str]]
    ignored: dict[str, int] = field(default_factory=dict)
    dimensions: list[tuple[int, int]] = field(default_factory=list)
    formats: dict[str, int] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    exact_duplicates: list[list[str]] = field(default_factory=list)
    near_duplicates: list[list[str]] = field(default_factory=list)
    turned: list[str] = field(default_factory=list)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """(height, width) of each readable image as it is shown, after its EXIF rotation."""
        turned = set(self.turned)
        return {
            name: (width, height) if name in turned else (height, width)
            for name, (width, height) in zip(self.readable, self.dimensions)
        }

    def reasons(self) -> dict[str, int]:
        """Unreadable images by kind of reason, the most frequent first."""
        return dict(Counter(reason.split(":")[0] for _, reason in self.unreadable).most_common())

    def refuse_unreadable(self) -> None:
        """Raise ValueError naming the first unreadable images, if there are any."""
        if self.unreadable:
            named = "; ".join(f"{printable(name)}: {reason}" for name, reason in self.unreadable[:5])
            more = f"; and {len(self.unreadable) - 5} more" if len(self.unreadable) > 5 else ""
            raise ValueError(
                f"{len(self.unreadable)} images of {len(self.unreadable) + len(self.readable)} in "
                f"{self.root!r} cannot be read, and strict=True refuses that: {named}{more}"
            )

    def summary(self, limit: int = 10) -> str:
        """The scan in lines of text, with at most `limit` unreadable images named."""
        lines = [f"{len(self.readable)} images readable, {len(self.unreadable)} unreadable"]
        if self.ignored:
            lines[0] += f", {sum(self.ignored.values())} other files ignored ({_counted(self.ignored)})"
        if self.dimensions:
            sides = np.array(self.dimensions)
            (w0, h0), (w1, h1), (wm, hm) = sides.min(0), sides.max(0), np.median(sides, 0).astype(int)
            lines.append(
                f"width x height: {w0} x {h0} to {w1} x {h1}, median {wm} x {hm}, "
                f"{len(set(self.dimensions))} different"
            )
            lines.append(f"formats: {_counted(self.formats)}; modes: {_counted(self.modes)}")
        for title, groups in (
            ("repeat another byte for byte", self.exact_duplicates),
            ("look like another", self.near_duplicates),
        ):
            if groups:
                lines.append(f"{sum(len(g) - 1 for g in groups)} {title}, first: {printable(groups[0][1])}")
        if self.unreadable:
            lines.append(f"unreadable: {_counted(self.reasons())}")
            lines += [f"  {printable(name)}: {reason}" for name, reason in self.unreadable[:limit]]
            if len(self.unreadable) > limit:
                lines.append(f"  and {len(self.unreadable) - limit} more")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Scan":
        """From `to_dict`, also after a journey through JSON, which knows no tuples."""
        tuples = {k: [tuple(pair) for pair in values[k]] for k in ("unreadable", "dimensions")}
        return cls(**{**values, **tuples})


class Tally:
    """Collects inspections into a `Scan`."""

    def __init__(self, root: str, ignored: dict[str, int] | None = None) -> None:
        self._root, self._ignored = root, ignored or {}
        self._seen: list[Inspection] = []
        self.unreadable: list[tuple[str, str]] = []

    def add(self, found: Inspection) -> None:
        """Count one inspection; its pixels are not kept."""
        if found.problem is not None or found.header is None:
            self.unreadable.append((found.entry.found_at, found.problem or "no data"))
        else:
            name_only = Entry(found.entry.name, None)
            self._seen.append(
                Inspection(name_only, header=found.header, digest=found.digest, small=found.small)
            )

    def scan(self) -> Scan:
        """The scan of everything added."""
        headers = [found.header for found in self._seen if found.header is not None]
        deep = [found for found in self._seen if found.digest is not None and found.small is not None]
        firsts = list({found.digest: found for found in reversed(deep)}.values())[::-1]
        return Scan(
            root=self._root,
            readable=[found.entry.name for found in self._seen],
            unreadable=sorted(self.unreadable),
            ignored=self._ignored,
            dimensions=[(h.width, h.height) for h in headers],
            turned=[f.entry.name for f in self._seen if f.header is not None and f.header.turned],
            formats=dict(Counter(h.format for h in headers).most_common()),
            modes=dict(Counter(h.mode for h in headers).most_common()),
            exact_duplicates=exact_groups([f.entry.name for f in deep], [f.digest or "" for f in deep]),
            near_duplicates=near_groups(
                [f.entry.name for f in firsts], [f.small for f in firsts if f.small is not None]
            ),
        )


def scan(
    path: str | Path,
    *,
    deep: bool = True,
    strict: bool = False,
    depth: str = "full",
    max_pixels: int = MAX_PIXELS,
    workers: int | None = None,
    progress: bool = True,
) -> Scan:
    """Read every image below a folder and say what is there; no image stops it.

    Args:
        path: folder, searched through all its sub-folders.
        deep: decode every image and compare contents; otherwise read the headers only, which is quick and
            misses truncated files and duplicates.
        strict: raise if an image cannot be read.
        depth, max_pixels: as in `Decoder`; they decide what counts as readable.
        workers: threads; default the number of cores, at most 8.
        progress: show a bar.

    Raises:
        ValueError: if there is no folder or no image in it, or with `strict` on the first unreadable images.
    """
    # Small copies suffice to judge and compare the files; the whole file is decoded all the same.
    decoder = Decoder(size=32, fit="stretch", resample="box", depth=depth, max_pixels=max_pixels)
    listing = list_images(path)
    if not listing.files:
        raise nothing_found(path, listing)
    tally = Tally(str(path), listing.ignored)
    with quiet_pillow():
        read = partial(inspect, decoder=decoder, deep=deep)
        found = ordered_map(read, entries_of(listing), workers=workers)
        for one in track(found, "reading images", total=len(listing.files), enabled=progress):
            tally.add(one)
    result = tally.scan()
    if strict:
        result.refuse_unreadable()
    return result


def entries_of(listing: Listing) -> list[Entry]:
    """The files and the problems of a listing as entries, sorted by name."""
    entries = [Entry(f.name, f.path) for f in listing.files]
    entries += [
        Entry(name, None, problem=why, passing=name in listing.passing) for name, why in listing.problems
    ]
    return sorted(entries, key=lambda e: e.name)


def printable(name: str) -> str:
    """A file name that any terminal can show: bytes that are no text become question marks, see `escaped`."""
    return escaped(os.fsencode(name).decode("utf-8", "replace"))


def _counted(counts: dict[str, int]) -> str:
    shown = ", ".join(f"{n} x {what}" for what, n in list(counts.items())[:6])
    return shown + (", ..." if len(counts) > 6 else "")
