"""One writer a folder: the lock that is taken before the first byte."""

import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from windvane.files import atomic_write_text, clear_temporary

LOCK, OWNER = ".lock", ".owner"


@contextmanager
def folder_lock(
    folder: str | Path, *, what: str, within: Sequence[str] = (), made: Sequence[Path] = ()
) -> Iterator[None]:
    """Hold `folder` for writing; a missing one is made, and goes again if nothing is left in it.

    The operating system frees the lock when its holder dies, however that happens, so a lock file that a
    dead process left behind stops nobody. What killed writers left half written is swept.

    Args:
        what: the folder in messages, such as "the run".
        within: folders in it that writers of its kind write to, which are swept, too.
        made: folders that the caller has made for it, the innermost first.

    Raises:
        ValueError: another writer holds it, who is named.
    """
    folder = Path(folder)
    made = [*made, *make_folder(folder)]
    with _held(folder / LOCK, folder / OWNER, f"{what} {str(folder)!r}"):
        try:
            for part in (folder, *(folder / name for name in within)):
                clear_temporary(part)
            yield
        finally:
            if made and {path.name for path in folder.iterdir()} <= {LOCK, OWNER}:
                shutil.rmtree(folder, ignore_errors=True)
                _remove_empty(made[1:])


@contextmanager
def replacement_lock(folder: str | Path, *, what: str) -> Iterator[None]:
    """The same for a folder that is replaced as a whole, with whatever lies in it: the lock lies beside it.

    Folders above it that are missing are made, and go again if nothing is left in them.

    Raises:
        ValueError: another writer holds it, who is named.
    """
    folder = Path(folder).resolve()
    made = make_folder(folder.parent)
    lock, owner = (folder.with_name(f".{folder.name}.windvane-{role}") for role in ("lock", "owner"))
    try:
        with _held(lock, owner, f"{what} {str(folder)!r}", keep=False):
            clear_temporary(folder.parent, folder.name)
            if folder.is_dir():
                clear_temporary(folder)
            yield
    finally:
        _remove_empty(made)


@contextmanager
def _held(path: Path, owner: Path, named: str, *, keep: bool = True) -> Iterator[None]:
    """Hold one lock file, which stays for the next holder with `keep`, and goes without."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        holder = owner.read_text(encoding="utf-8").strip() if owner.exists() else "another process"
        raise ValueError(
            f"{named} is being written by {holder}; wait for it, stop it, or choose another folder"
        ) from None
    try:
        atomic_write_text(owner, f"process {os.getpid()} on {platform.node()}\n")
        yield
    finally:
        owner.unlink(missing_ok=True)
        if not keep:
            with suppress(OSError):  # Windows keeps open files
                path.unlink()
        lock.release()


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # another has put something there
            folder.rmdir()


def make_folder(folder: Path) -> list[Path]:
    """Make a folder; those that were missing, the innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing
