"""Files and folders that are either wholly there or not at all.

Everything is written under a temporary hidden name in the same folder, flushed to the disk and then renamed,
so that a process killed at any moment leaves the previous version or the new one, never half of either.
"""

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_MARK = ".windvane-tmp"


def _temporary_name(path: Path) -> Path:
    # The suffix stays last because savers (NumPy, Pillow) choose or append the format by it.
    return path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}{_MARK}{path.suffix}")


def _sync(path: Path) -> None:
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR
    try:
        handle = os.open(path, flags)
    except PermissionError:
        # Windows cannot open folders, and a file without write permission was synced by whoever wrote it.
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flush every file under `folder`, and the folders themselves, to the disk."""
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync(Path(root) / name)
        _sync(Path(root))


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; when the block ends without error the file written there becomes `path`.

    The temporary path has the suffix of `path`. On an error it is removed and `path` stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(path)
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


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


def replace_folder(temporary: str | Path, final: str | Path) -> None:
    """Make the complete folder `temporary` the new `final`; both must be in one file system.

    No system renames onto a folder that has contents, so the old one steps aside first. A process killed in
    between leaves `final` missing with a complete folder next to it, which `recover_folder` puts in place.
    """
    temporary, final = Path(temporary), Path(final)
    if not temporary.is_dir():
        raise ValueError(f"replace_folder needs an existing folder to put in place, got {str(temporary)!r}")
    recover_folder(final)
    new, old = _aside(final, "new"), _aside(final, "old")
    _remove(new)
    _remove(old)
    sync_tree(temporary)
    os.rename(temporary, new)
    if final.exists():
        os.rename(final, old)
    try:
        os.rename(new, final)
    except FileNotFoundError:
        # A reader that found `final` missing has recovered it already.
        if not final.is_dir():
            raise
    _sync(final.parent)
    _remove(old)


def recover_folder(final: str | Path) -> Path:
    """Return `final`; if a killed `replace_folder` left it missing, put the newest complete one there."""
    final = Path(final)
    for role in ("new", "old"):
        if not final.exists():
            with suppress(FileNotFoundError):
                os.rename(_aside(final, role), final)
    return final


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder; when the block ends without error it becomes `path`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(path)
    temporary.mkdir()
    try:
        yield temporary
        replace_folder(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def clear_temporary(folder: str | Path) -> None:
    """Remove what writers that are no longer alive left directly in `folder`, and recover its folders.

    Call it only while no other machine writes there.
    """
    import psutil

    for path in Path(folder).glob(f".*{_MARK}*"):
        writer = path.name.partition(_MARK)[0].rpartition(".")[2].partition("-")[0]
        if not (writer.isdigit() and psutil.pid_exists(int(writer))):
            _remove(path)
    for role in ("new", "old"):
        for path in Path(folder).glob(f".*.windvane-{role}"):
            recover_folder(path.with_name(path.name[1:].removesuffix(f".windvane-{role}")))
            _remove(path)
