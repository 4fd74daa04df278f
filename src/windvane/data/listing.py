"""Which files under a folder may be images: the same list, in the same order, on every machine."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from windvane.data.decode import file_problem
from windvane.data.errors import is_passing, refuse_scarcity

ENDINGS = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .mpo .webp .gif .tif .tiff .bmp .dib .ppm .pgm .pbm .pnm .pfm .tga "
    ".jp2 .j2k .jpx .jpf .jpc .avif .avifs .heic .heif .pcx .qoi .psd".split()
)


@dataclass(frozen=True)
class Listed:
    """One file with the ending of an image: name relative to the root, with slashes; place; what it is."""

    name: str
    path: Path
    status: os.stat_result


@dataclass(frozen=True)
class Listing:
    """Candidates by name; problems as (name, reason); what was passed over, by ending.

    `passing` names those problems that may be gone at the next opening.
    """

    files: list[Listed]
    problems: list[tuple[str, str]]
    ignored: dict[str, int]
    passing: frozenset[str] = frozenset()


def list_images(root: str | Path) -> Listing:
    """All files below `root` with the ending of an image, sorted by relative name.

    Links are followed, and each real folder is entered once, so loops end. Names that begin with a dot (the
    leftovers of file managers among them) and ``__MACOSX`` are passed over; they count as "hidden".

    Raises:
        ValueError: if `root` is missing or not a folder.
    """
    top = Path(root)
    if not top.is_dir():
        what = "it is a file" if top.exists() else "it does not exist"
        raise ValueError(f"{str(root)!r} is no folder of images: {what}")
    files: list[Listed] = []
    problems: list[tuple[str, str]] = []
    passing: set[str] = set()
    ignored: Counter[str] = Counter()

    def name_of(path: str | Path) -> str:
        return Path(os.path.relpath(path, top)).as_posix()

    def add_problem(error: OSError, path: str | Path) -> None:
        refuse_scarcity(error, f"listing {str(root)!r}")
        problems.append((name_of(path), file_problem(error, path)))
        if is_passing(error):
            passing.add(name_of(path))

    def unlistable(error: OSError) -> None:
        add_problem(error, error.filename)

    status = os.stat(top)
    entered = {(status.st_dev, status.st_ino)}
    for folder, folders, names in os.walk(top, followlinks=True, onerror=unlistable):
        folders[:] = [f for f in sorted(folders) if _enter(os.path.join(folder, f), entered, ignored)]
        place, prefix = Path(folder), name_of(folder) + "/"
        prefix = "" if prefix == "./" else prefix
        for name in names:
            path = place / name
            ending = path.suffix.lower()
            if name.startswith("."):
                ignored["hidden"] += 1
            elif ending not in ENDINGS:
                ignored[ending or "no ending"] += 1
            else:
                try:
                    status = os.stat(path)
                    files.append(Listed(prefix + name, path, status))
                except OSError as error:
                    add_problem(error, path)
    return Listing(
        sorted(files, key=lambda f: f.name),
        sorted(problems),
        dict(sorted(ignored.items(), key=_frequent_first)),
        frozenset(passing),
    )


def _frequent_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _enter(folder: str, entered: set[tuple[int, int]], ignored: Counter[str]) -> bool:
    base = os.path.basename(folder)
    if base.startswith(".") or base == "__MACOSX":
        ignored["hidden"] += 1
        return False
    try:
        status = os.stat(folder)
    except OSError:
        # os.walk will fail on it too, and reports it then.
        return True
    key = (status.st_dev, status.st_ino)
    if key in entered:
        ignored["folder linked twice"] += 1
        return False
    entered.add(key)
    return True


def nothing_found(root: str | Path, listing: Listing) -> ValueError:
    """The error for a folder without images: what it holds instead, and what would work."""
    held = ", ".join(f"{n} x {ending}" for ending, n in list(listing.ignored.items())[:6]) or "nothing"
    if listing.problems:
        held += "; unreadable: " + ", ".join(f"{name} ({why})" for name, why in listing.problems[:3])
    return ValueError(
        f"no images in {str(root)!r} (found: {held}). Endings that work: {' '.join(sorted(ENDINGS))}"
    )
