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
        follow: keep one channel of rows with three as long as all of them are grey; the first coloured row
            turns those before it into three equal channels.
    """

    def __init__(self, path: Path | None = None, *, capacity: int, follow: bool = False) -> None:
        self._path = path
        self._follow = follow
        self._capacity = capacity
        self._file: BinaryIO | None = None
        self._rows = np.empty((0,), np.uint8)
        self._digest = hashlib.sha256()
        self.shape: tuple[int, ...] | None = None
        self.count = 0

    def append(self, row: np.ndarray, *, grey: bool = True) -> None:
        """Add one uint8 row; `grey` False says that its file could have held colours."""
        if self._follow:
            if grey and len(row) == 3 and bool((row[1:] == row[:1]).all()):
                row = row[:1]
            else:
                self._follow = False
                self._widen(len(row))
        if self.shape is None:
            self.shape = row.shape
            if self._path is None:
                self._rows = self._reserved(row.shape)
            else:
                self._file = open(self._path, "w+b")  # noqa: SIM115 - closed in finish and abort
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

    def _widen(self, channels: int) -> None:
        """Repeat the one channel of the rows so far, a few rows at a time."""
        if self.shape is None:
            return
        narrow, shape = self.shape, (channels, *self.shape[1:])
        self.shape, self._digest = shape, hashlib.sha256()
        if self._file is None:
            before, self._rows = self._rows, self._reserved(shape)
            for k in range(self.count):
                self._rows[k] = before[k]
                self._digest.update(self._rows[k].data)
            return
        size, wide = int(np.prod(narrow)), int(np.prod(shape))
        self._file.write(b"\0" * (self.count * (wide - size)))
        # From the last row to the first, so that no row is written over before it is read.
        for k in reversed(range(self.count)):
            self._file.seek(_HEADER_BYTES + k * size)
            row = np.frombuffer(self._file.read(size), np.uint8).reshape(narrow)
            self._file.seek(_HEADER_BYTES + k * wide)
            self._file.write(np.broadcast_to(row, shape).tobytes())
        self._file.seek(_HEADER_BYTES)
        for _ in range(self.count):
            self._digest.update(self._file.read(wide))
        # Between reading and writing a file asks for a seek.
        self._file.seek(0, 2)

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
