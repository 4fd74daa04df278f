"""Files and folders that are either wholly there or not at all.

Everything is written under a temporary hidden name in the same folder, flushed to the disk and then renamed,
so that a process killed at any moment leaves the previous version or the new one, never half of either.
A folder is replaced only by one of its own kind (:class:`FolderKind`), never a folder of the user's.
"""

import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from typing import Any

from windvane.resource_errors import writing

_MARK = ".windvane-tmp"
#: What systems leave in any folder they show, and what killed writers left; it may go with the rest.
LITTER = (".DS_Store", "Thumbs.db", "desktop.ini", ".*.windvane-*")
_MOST_NAMED = 3


@dataclass(frozen=True)
class FolderKind:
    """What folders of one kind consist of, so that no other folder is taken for one and replaced.

    Args:
        what: its name in messages, such as "an annotation".
        marks: JSON files of which such a folder has one at least, with the keys that this one then holds.
        files: patterns of what else may lie in it, by path from the folder: ``clusters/*.json``.
    """

    what: str
    marks: Mapping[str, tuple[str, ...]]
    files: tuple[str, ...] = ()

    def check(self, path: str | Path) -> Path:
        """`path` with links followed, if a folder of this kind may be put there.

        Raises:
            ValueError: a file, the folder the process works in or one above it, or a folder that is neither
                empty nor one of this kind with nothing else in it; the message says what is there.
        """
        final = Path(path).resolve()
        if not final.exists():
            return final
        if not final.is_dir():
            raise ValueError(f"{final} is a file; name a folder for {self.what}")
        if _at_work_in(final):
            raise ValueError(
                f"{final} is the folder this process works in, or one above it, and cannot be replaced as a "
                f"whole; name another for {self.what}, such as {final / 'new'}"
            )
        found, other = self._contents(final)
        help_ = "nothing was changed; name a missing or empty folder, or clear this one yourself"
        if other:
            more = f" and {len(other) - _MOST_NAMED} more" if len(other) > _MOST_NAMED else ""
            named = ", ".join(other[:_MOST_NAMED])
            raise ValueError(f"{final} holds {named}{more}: no part of {self.what}; {help_}")
        if found and not self._marked(final):
            raise ValueError(
                f"{final} holds {', '.join(found[:_MOST_NAMED])}, but is not {self.what} of this library; "
                f"{help_}"
            )
        return final

    def owns(self, folder: Path) -> bool:
        """Whether a folder is one of this kind, with nothing else in it."""
        return folder.is_dir() and self._marked(folder) and not self._contents(folder)[1]

    def _contents(self, folder: Path) -> tuple[list[str], list[str]]:
        """All that is in a folder, but for litter; and what of it is no part of this kind."""
        found = [entry for entry in _entries(folder) if not matches_any(entry, LITTER)]
        return found, [entry for entry in found if not matches_any(entry, (*self.marks, *self.files))]

    def _marked(self, folder: Path) -> bool:
        return any(holds_keys(folder / name, keys) for name, keys in self.marks.items())


def _at_work_in(folder: Path) -> bool:
    try:
        return Path.cwd().is_relative_to(folder)
    except FileNotFoundError:  # the working folder has been removed
        return False


def _entries(folder: Path) -> list[str]:
    """Files, links and empty folders under `folder`, by their paths from there, in order."""
    found = []
    for root, folders, names in os.walk(folder):
        place = Path(root)
        links = [name for name in folders if (place / name).is_symlink()]
        found += [(place / name).relative_to(folder).as_posix() for name in (*names, *links)]
        if not names and not folders and place != folder:
            found.append(f"{place.relative_to(folder).as_posix()}/")
    return sorted(found)


def matches_any(entry: str, patterns: Iterable[str]) -> bool:
    """Whether a path fits one of the patterns."""
    return any(fnmatchcase(entry, pattern) for pattern in patterns)


def holds_keys(path: Path, keys: tuple[str, ...]) -> bool:
    """Whether a file is a JSON object with all these keys."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(told, dict) and set(keys) <= set(told)


def temporary_name(path: Path) -> Path:
    """A hidden name beside `path` that nobody else has, and that says who writes there."""
    # The suffix stays last because savers (NumPy, Pillow) choose or append the format by it.
    return path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}{_MARK}{path.suffix}")


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR
    try:
        handle = os.open(path, flags)
    except PermissionError:  # Windows opens no folders, and who writes a file that is read-only syncs it
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def usual_mode(temporary: Path) -> int:
    """The permissions that a new file gets beside `temporary`, by the user's umask and the folder.

    Some writers (safetensors) make files that nobody else may read, whatever the umask says.
    """
    temporary.touch()
    mode = stat.S_IMODE(temporary.stat().st_mode)
    temporary.unlink()
    return mode


def settle(path: Path, mode: int) -> None:
    """Give a new file the permissions `mode`, and flush it to the disk."""
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)
    sync(path)


def _settle_tree(folder: Path) -> None:
    """The same for every file under a new folder; the folders are flushed, too."""
    mode = usual_mode(temporary_name(folder / "mode"))
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            settle(Path(root) / name, mode)
        sync(Path(root))


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; when the block ends without error the file written there becomes `path`.

    The temporary path has the suffix of `path`. On an error it is removed and `path` stays as it was. The
    permissions are those of any new file there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with writing(path, temporary):
            mode = usual_mode(temporary)
            yield temporary
            settle(temporary, mode)
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Replace the contents of `path` by `text` (UTF-8) at once."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def atomic_write_json(path: str | Path, value: Any) -> None:
    """Replace the contents of `path` by `value` as indented JSON at once; NaN and infinities are refused."""
    atomic_write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _aside(final: Path, role: str) -> Path:
    return final.with_name(f".{final.name}.windvane-{role}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def discard(path: str | Path) -> None:
    """Remove a file or folder of a cache, whose name alone says that the library made it."""
    _remove(Path(path))


def replace_folder(temporary: str | Path, final: str | Path, kind: FolderKind) -> None:
    """Make the complete folder `temporary` the new `final`; both must be in one file system.

    No system renames onto a folder that has contents, so the old one steps aside first. A process killed in
    between leaves `final` missing with a complete folder next to it, which `recover_folder` puts in place.

    Raises:
        ValueError: no folder to put in place, or something at `final` that is not of this kind.
    """
    temporary, final = Path(temporary), Path(final)
    if not temporary.is_dir():
        raise ValueError(f"replace_folder needs an existing folder to put in place, got {str(temporary)!r}")
    final = kind.check(recover_folder(final))
    new, old = _aside(final, "new"), _aside(final, "old")
    _remove(new)
    _remove(old)
    _settle_tree(temporary)
    os.rename(temporary, new)
    if final.exists():
        os.rename(final, old)
    try:
        os.rename(new, final)
    except FileNotFoundError:  # a reader that found `final` missing has recovered it already
        if not final.is_dir():
            raise
    sync(final.parent)
    _remove(old)


def recover_folder(final: str | Path) -> Path:
    """Return `final`; if a killed `replace_folder` left it missing, put the newest complete one there."""
    final = Path(final)
    for role in ("new", "old"):
        if not final.exists():
            with suppress(FileNotFoundError):
                os.rename(_aside(final.resolve(), role), final.resolve())
    return final


@contextmanager
def atomic_folder(path: str | Path, kind: FolderKind) -> Iterator[Path]:
    """Yield an empty temporary folder; when the block ends without error it becomes `path`.

    Raises:
        ValueError: something stands at `path` that `kind` does not know as its own: before the block begins,
            or, if it came while the block ran, after it.
    """
    path = kind.check(recover_folder(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    with writing(path):
        temporary.mkdir()
    try:
        with writing(path, temporary):
            yield temporary
            replace_folder(temporary, path, kind)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def clear_temporary(folder: str | Path, name: str | None = None) -> None:
    """Remove what dead writers left directly in `folder`, of `name` if one is given, and recover its folders.

    Call it only while no other machine writes there.
    """
    import psutil

    stem, whole = ("*", "*") if name is None else (escape(Path(name).stem), escape(name))
    for path in Path(folder).glob(f".{stem}.*{_MARK}*"):
        writer = path.name.partition(_MARK)[0].rpartition(".")[2].partition("-")[0]
        if not (writer.isdigit() and psutil.pid_exists(int(writer))):
            _remove(path)
    for role in ("new", "old"):
        for path in Path(folder).glob(f".{whole}.windvane-{role}"):
            recover_folder(path.with_name(path.name[1:].removesuffix(f".windvane-{role}")))
            _remove(path)
