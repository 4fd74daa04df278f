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
    from filelock import FileLock, Timeout

    folder = Path(folder)
    made = [*made, *make_folder(folder)]
    owner = folder / OWNER
    lock = FileLock(folder / LOCK, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        holder = owner.read_text(encoding="utf-8").strip() if owner.exists() else "another process"
        raise ValueError(
            f"{what} {str(folder)!r} is being written by {holder}; wait for it, stop it, or choose another "
            "folder"
        ) from None
    try:
        atomic_write_text(owner, f"process {os.getpid()} on {platform.node()}\n")
        for part in (folder, *(folder / name for name in within)):
            clear_temporary(part)
        yield
    finally:
        owner.unlink(missing_ok=True)
        if made and {path.name for path in folder.iterdir()} <= {LOCK}:
            shutil.rmtree(folder, ignore_errors=True)
            for parent in made[1:]:
                with suppress(OSError):  # another has put something there
                    parent.rmdir()
        lock.release()


def make_folder(folder: Path) -> list[Path]:
    """Make a folder; those that were missing, the innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing
