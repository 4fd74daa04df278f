"""Folders that commands write into: one rule for all of them.

A folder is refused before any work if it holds what no command of its kind has put there. Every file is noted
in the folder's list before it is written, and only what the list names is ever replaced or removed. Folders
from before there were lists are recognised by the files of their kind.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from windvane.damage import reading
from windvane.files import LITTER, atomic_write_json, holds_keys, matches_any
from windvane.locks import LOCK, OWNER, folder_lock
from windvane.pictures import read_settings

LIST = ".windvane_files.json"
_OWN = (LIST, LOCK, OWNER)
_MOST_NAMED = 3
_MOST_READ = 2**24
_HELP = "nothing was changed; name a missing or empty folder, or clear this one yourself"


@dataclass(frozen=True)
class OutputKind:
    """What commands of one kind leave in their folder.

    Args:
        name: in the folder's list.
        what: in messages, such as "a search".
        files: patterns of the files, by path from the folder.
        marks: JSON files of which a folder without a list has one at least, with keys that it then holds.
        signs: by pattern, bytes that every file of that name holds which such commands wrote. In a folder
            without a list a file that has neither marks nor signs nor settings in it is somebody else's.
    """

    name: str
    what: str
    files: tuple[str, ...]
    marks: Mapping[str, tuple[str, ...]]
    signs: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)

    def check(self, folder: str | Path) -> set[str]:
        """The files in `folder` that commands of this kind put there.

        Raises:
            ValueError: a file; a folder of another kind, or with what no command put there; a file of
                somebody else where one of this kind would be written.
        """
        folder = Path(folder)
        if folder.is_file():
            raise ValueError(f"--out is a folder, {folder} is a file")
        found = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
        found = [name for name in found if name not in _OWN and not matches_any(name, LITTER)]
        noted = read_list(folder)
        if noted is not None:
            kind, names = noted
            if kind != self.name and found:
                raise ValueError(f"{folder} holds a {kind}, no place for {self.what}; {_HELP}")
            foreign = [name for name in self._present(folder) if not _covered(name, names)]
        elif self._marked(folder):
            names = set(self._present(folder))
            foreign = [name for name in sorted(names) if not self._written_here(folder, name)]
        else:
            names = {name for name in found if matches_any(name, self.files) and name.endswith(".png")}
            foreign = [n for n in found if n not in names or not _carries_settings(folder / n)]
        if foreign:
            more = f" and {len(foreign) - _MOST_NAMED} more" if len(foreign) > _MOST_NAMED else ""
            raise ValueError(
                f"{folder} holds {', '.join(foreign[:_MOST_NAMED])}{more}: no part of {self.what} that "
                f"windvane wrote; {_HELP}"
            )
        return names

    def _present(self, folder: Path) -> list[str]:
        """What in a folder has a name that a command of this kind writes."""
        return sorted({p.relative_to(folder).as_posix() for name in self.files for p in folder.glob(name)})

    def _written_here(self, folder: Path, name: str) -> bool:
        """Whether a file of a folder without a list was written by this library, by what is in it."""
        if name in self.marks:
            return holds_keys(folder / name, self.marks[name])
        signs = next((found for one, found in self.signs.items() if fnmatchcase(name, one)), None)
        return _carries_settings(folder / name) if signs is None else _holds(folder / name, signs)

    def _marked(self, folder: Path) -> bool:
        return any(holds_keys(folder / name, keys) for name, keys in self.marks.items())


@contextmanager
def claimed(
    folder: str | Path, kind: OutputKind, *, what: str = "the folder", made: Sequence[Path] = ()
) -> Iterator[None]:
    """Check and lock `folder` for a command of `kind`, before its first byte and until the block ends.

    Raises:
        ValueError: what :meth:`OutputKind.check` and :func:`windvane.locks.folder_lock` refuse.
    """
    folder = Path(folder)
    kind.check(folder)
    with folder_lock(folder, what=what, within=_inner(kind), made=made):
        names = kind.check(folder)  # once more: another may have written before it let go of the lock
        if names:
            _write_list(folder, kind.name, names)
        try:
            yield
        finally:
            _forget(folder)


def note_files(folder: str | Path, kind: OutputKind, names: Iterable[str]) -> None:
    """Note files that a command of `kind` is about to write into `folder`.

    Raises:
        ValueError: one of them is there and nobody has noted it.
    """
    folder = Path(folder)
    known = kind.check(folder)
    new = {name for name in names if not _covered(name, known)}
    foreign = sorted(name for name in new if any(folder.glob(name)))
    if foreign:
        named = ", ".join(str(folder / name) for name in foreign[:_MOST_NAMED])
        raise ValueError(f"{named} would be replaced, and is not windvane's; name another folder")
    if new or read_list(folder) is None:
        _write_list(folder, kind.name, known | new)


def read_list(folder: str | Path) -> tuple[str, set[str]] | None:
    """The kind of a folder and the files that commands noted there; None for a folder without a list."""
    path = Path(folder) / LIST
    if not path.is_file():
        return None
    with reading(path):
        told = json.loads(path.read_text(encoding="utf-8"))
        return str(told["kind"]), {str(name) for name in told["files"]}


def check_file(path: str | Path, *, mark: bytes, what: str) -> Path:
    """`path` if a file may be written there: none is there, or one of this library with `mark` in it.

    Raises:
        ValueError: a folder, somebody else's file, or a place that cannot be written, which the end of the
            work would be too late for.
    """
    path = Path(path)
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise ValueError(f"{path} cannot be written: {there} is read-only or no folder; name another place")
    if path.is_dir():
        raise ValueError(f"--out is a file for {what}, {path} is a folder")
    if path.exists() and not path.is_file():  # which would be waited for without end
        raise ValueError(f"{path} is no file but a pipe or a device; name another for {what}")
    if path.exists() and mark not in path.read_bytes():
        raise ValueError(
            f"{path} is no file of windvane's and is not replaced by {what}; nothing was changed, name "
            "another"
        )
    return path


def _write_list(folder: Path, kind: str, names: set[str]) -> None:
    atomic_write_json(folder / LIST, {"format": 1, "kind": kind, "files": sorted(names)})


def _forget(folder: Path) -> None:
    """Take away the list where nothing that it names was written."""
    noted = read_list(folder)
    if not any(any(folder.glob(name)) for name in (() if noted is None else noted[1])):
        (folder / LIST).unlink(missing_ok=True)


def _covered(name: str, noted: set[str]) -> bool:
    return name in noted or any("*" in pattern and fnmatchcase(name, pattern) for pattern in noted)


def _inner(kind: OutputKind) -> tuple[str, ...]:
    return tuple(sorted({name.rpartition("/")[0] for name in kind.files if "/" in name}))


def _carries_settings(path: Path) -> bool:
    """Whether a file is a picture that this library wrote."""
    if path.suffix.lower() != ".png":
        return False
    try:
        read_settings(path)
    except (ValueError, OSError):
        return False
    return True


def _holds(path: Path, signs: tuple[bytes, ...]) -> bool:
    try:
        with path.open("rb") as opened:
            content = opened.read(_MOST_READ)
    except OSError:
        return False
    return all(sign in content for sign in signs)
