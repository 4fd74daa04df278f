"""Where decoded rows are collected: in memory, or in a .npy file of a length not known in advance."""

import hashlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from windvane.data.images import seal

# The .npy format, version 1.0: magic, version, length of the text, a Python literal padded with spaces. The
# fixed length lets the true number of rows be written over the first guess when all rows are in.
_HEADER_BYTES = 128


def _npy_header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    text = repr({"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    head = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little") + text.encode("latin1")
    return head + b" " * (_HEADER_BYTES - 1 - len(head)) + b"\n"


class RowStore:
    """Rows of one shape, appended one by one, hashed on the way.

    The first row fixes the shape and a later one of another shape is refused.

    Args:
        path: .npy file to write; None keeps the rows in memory.
        capacity: rows there may be; memory is reserved for that many, and taken only for those that come.
    """

    def __init__(self, path: Path | None = None, *, capacity: int) -> None:
        self._path = path
        self._capacity = capacity
        self._file: BinaryIO | None = None
        self._rows = np.empty((0,), np.uint8)
        self._digest = hashlib.sha256()
        self.shape: tuple[int, ...] | None = None
        self.count = 0

    def append(self, row: np.ndarray) -> None:
        """Add one uint8 row."""
        if self.shape is None:
            self.shape = row.shape
            if self._path is None:
                self._rows = self._reserved(row.shape)
            else:
                self._file = open(self._path, "wb")  # noqa: SIM115 - closed in finish and abort
                self._file.write(_npy_header((0, *row.shape), row.dtype))
        if row.shape != self.shape:
            raise ValueError(f"row of shape {row.shape} among rows of shape {self.shape}")
        content = np.ascontiguousarray(row)
        self._digest.update(content.data)
        if self._file is not None:
            self._file.write(content.tobytes())
        else:
            self._rows[self.count] = content
        self.count += 1

    def _reserved(self, shape: tuple[int, ...]) -> np.ndarray:
        try:
            return np.empty((self._capacity, *shape), np.uint8)
        except MemoryError as error:
            needed = self._capacity * int(np.prod(shape)) / 2**30
            raise ValueError(
                f"{self._capacity} images of {shape} need {needed:.0f} GiB of memory; "
                "give cache= a folder, which keeps them on disk, or a smaller size="
            ) from error

    def finish(self) -> tuple[np.ndarray | None, str]:
        """All rows (n, *shape), or None where they went to the file, and their fingerprint."""
        if self.shape is None:
            raise ValueError("no rows were stored")
        shape = (self.count, *self.shape)
        fingerprint = seal(self._digest, np.dtype(np.uint8), shape)
        if self._file is None:
            return self._rows[: self.count], fingerprint
        self._file.seek(0)
        self._file.write(_npy_header(shape, np.dtype(np.uint8)))
        self._file.close()
        return None, fingerprint

    def abort(self) -> None:
        """Close the file; the caller removes it."""
        if self._file is not None:
            self._file.close()
