"""Decoded images kept on disk, so that the second opening reads no picture.

An entry is two files, ``<key>.npy`` with the rows and ``<key>.json`` with everything else. The key is a hash
of all that decides the content, so a changed file or setting makes a new entry and an old one is never wrong.
"""

import errno
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from windvane.data.images import ImageData
from windvane.data.row_store import RowStore
from windvane.data.scan import Scan
from windvane.files import atomic_file, atomic_write_text

_FORMAT = 6
#: The cache's want, not the data's: a full or failing disk, a quota, a folder that may not be written.
_NO_CACHE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
)


@dataclass(frozen=True)
class Contents:
    """What belongs to the stored rows: labels (ids) with their names, and the scan that names the rows.

    With `passing` problems among the files the rows are of this opening only.
    """

    labels: list[int] | None
    label_names: list[str] | None
    scan: Scan
    passing: bool = False


def files_digest(root: str | Path, files: Iterable[tuple[str, os.stat_result]]) -> str:
    """Hash of name, bytes, times, device and inode of every file of a source at `root`.

    Names, sizes and times alone are equal for two exports of one program. The inode and the time of its last
    change tell a file from another one that took its place, even with the time of modification set back. On
    file systems without inodes the resolved place stands for them.
    """
    digest = hashlib.sha256()
    place = str(Path(root).resolve())
    for name, s in files:
        where = f"{s.st_dev} {s.st_ino}" if s.st_ino else place
        digest.update(f"{name!r} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {where!r}\n".encode())
    return digest.hexdigest()


def open_or_build(
    build: Callable[[RowStore], Contents],
    *,
    capacity: int,
    cache: str | Path | None,
    identity: dict[str, Any],
    follow: bool = False,
) -> ImageData:
    """The images of the cache entry for `identity`, after building it if there is none that is whole.

    Args:
        build: fills the store it is given and returns what belongs to the rows.
        capacity: rows there may be.
        cache: folder of the cache, made if missing; None keeps the rows in memory.
        identity: all that decides the content, as JSON values.
        follow: keep one channel where all rows are grey, see `RowStore`.
    """
    if cache is None:
        return _in_memory(build, capacity, follow)
    identified = json.dumps({"format": _FORMAT, "follow": follow, **identity}, sort_keys=True)
    key = hashlib.sha256(identified.encode()).hexdigest()[:32]
    rows_path, index_path = Path(cache) / f"{key}.npy", Path(cache) / f"{key}.json"
    found = _read(rows_path, index_path)
    if found is not None:
        return found
    try:
        return _written(build, capacity, follow, rows_path, index_path)
    except OSError as error:
        if error.errno not in _NO_CACHE:
            raise
        why = error.strerror or error
    warnings.warn(f"the cache {str(cache)!r} cannot be written ({why}); going on without it", stacklevel=2)
    return _in_memory(build, capacity, follow)


def _in_memory(build: Callable[[RowStore], Contents], capacity: int, follow: bool) -> ImageData:
    store = RowStore(capacity=capacity, follow=follow)
    contents = build(store)
    rows, fingerprint = store.finish()
    return _images(rows, contents, fingerprint)  # type: ignore[arg-type]


def _written(
    build: Callable[[RowStore], Contents], capacity: int, follow: bool, rows_path: Path, index_path: Path
) -> ImageData:
    """The images, by way of a new entry."""
    with atomic_file(rows_path) as temporary:
        store = RowStore(temporary, capacity=capacity, follow=follow)
        try:
            contents = build(store)
            _, fingerprint = store.finish()
        finally:
            store.abort()
    if contents.passing:
        return _passing(rows_path, contents, fingerprint)
    # The index is written last: rows without an index do not count as an entry.
    index = {"fingerprint": fingerprint, **asdict(contents)}
    try:
        atomic_write_text(index_path, json.dumps({**index, "hash": _hash(index)}))
    except OSError:
        # An index of an earlier entry would not fit these rows, and rows alone only take room.
        rows_path.unlink(missing_ok=True)
        raise
    written = _read(rows_path, index_path)
    if written is None:
        raise OSError(errno.EIO, "an entry cannot be read back as it was written")
    return written


def _hash(index: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()


def _passing(rows_path: Path, contents: Contents, fingerprint: str) -> ImageData:
    """The rows without an entry: what could not be read now may be readable the next time."""
    rows = np.load(rows_path, mmap_mode="r", allow_pickle=False)
    with suppress(OSError):  # elsewhere than on POSIX a mapped file stays until it is written anew
        rows_path.unlink()
    return _images(rows, contents, fingerprint)


def _read(rows_path: Path, index_path: Path) -> ImageData | None:
    """The images of an entry whose index and rows have the hashes noted at saving; None for any other."""
    try:
        index = json.loads(index_path.read_text(encoding="utf-8"))
        if index.pop("hash") != _hash(index):
            return None
        rows = np.load(rows_path, mmap_mode="r", allow_pickle=False)
        contents = Contents(index["labels"], index["label_names"], Scan.from_dict(index["scan"]))
        if ImageData(rows).fingerprint != index["fingerprint"]:
            return None
        return _images(rows, contents, index["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, EOFError):
        # Missing, damaged, half-written by another program, or of another format: build it anew.
        return None


def _images(rows: np.ndarray, contents: Contents, fingerprint: str) -> ImageData:
    return ImageData(
        rows,
        labels=contents.labels,
        label_names=contents.label_names,
        names=contents.scan.readable,
        scan=contents.scan,
        fingerprint=fingerprint,
    )
