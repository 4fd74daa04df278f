"""From entries to rows of one shape: decode in threads, keep the readable, account for the rest."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from windvane.data.decode import Decoder, quiet_pillow
from windvane.data.inspection import Entry, inspect
from windvane.data.parallel import ordered_map
from windvane.data.row_store import RowStore
from windvane.data.scan import Scan, Tally, printable
from windvane.progress import track

_COLOURED = frozenset("RGB RGBA RGBX RGBa CMYK YCbCr HSV LAB".split())


@dataclass(frozen=True)
class Collected:
    """The labels of the rows stored (as the source gave them) and the scan, whose `readable` names them.

    `passing` says that a file could not be read for a reason that may be gone at the next opening.
    """

    labels: list[int | str | None]
    scan: Scan
    passing: bool = False


def collect(
    entries: Iterable[Entry],
    store: RowStore,
    *,
    decoder: Decoder,
    root: str,
    ignored: dict[str, int] | None = None,
    total: int | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Collected:
    """Append every readable entry to `store`, in order.

    Raises:
        ValueError: if no entry is readable, or if the decoder keeps sizes and two pictures differ in size.
    """
    tally = Tally(root, ignored)
    labels: list[int | str | None] = []
    first, passing = "", False
    with quiet_pillow():
        found = ordered_map(partial(inspect, decoder=decoder), entries, workers=workers)
        for one in track(found, "reading images", total=total, enabled=progress):
            tally.add(one)
            passing = passing or one.passing
            if one.pixels is None:
                continue
            first = first or one.entry.name
            # The channels are the store's matter.
            if store.shape is not None and one.pixels.shape[1:] != store.shape[1:]:
                raise ValueError(
                    f"pictures differ in size ({printable(first)}: {_size(store.shape)}, "
                    f"{printable(one.entry.found_at)}: {_size(one.pixels.shape)}); give size="
                )
            # One colour stored as RGB says that the source is one of colours; a palette may hold either.
            store.append(one.pixels, grey=one.header is None or one.header.mode not in _COLOURED)
            labels.append(one.entry.label)
    if not labels:
        named = "; ".join(f"{printable(name)}: {why}" for name, why in tally.unreadable[:5])
        if not tally.unreadable:
            raise ValueError(f"there are no images in {root!r}")
        raise ValueError(f"none of the {len(tally.unreadable)} images in {root!r} can be read: {named}")
    return Collected(labels, tally.scan(), passing)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[2]}"
