"""The states of a tree's nodes: rows that are only ever appended, in memory or in a file."""

import hashlib
import os
from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from windvane.damage import Damaged

_BLOCK_BYTES = 1 << 24


class States:
    """Rows of one shape in float16 or float32, in blocks of 16 MiB, or in a file where ``path`` is given.

    Nothing is copied when it grows. In a file a row costs no memory; the file is made with the first row, and
    may be longer than what counts, where a process was killed while it wrote.

    Args:
        count: rows of the file that count.
        sums: a hash of each of them, compared when it is read; none where they are not known.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        *,
        path: Path | None = None,
        count: int = 0,
        sums: Iterable[int] | None = None,
    ) -> None:
        self.shape, self.dtype, self.path, self.count = shape, dtype, path, count
        self._numpy = np.dtype(str(dtype).removeprefix("torch."))
        self.row_bytes = int(np.prod(shape)) * self._numpy.itemsize
        self._per_block = max(1, _BLOCK_BYTES // self.row_bytes)
        self._blocks: list[np.ndarray] = []
        self._file: int | None = None
        self.sums = array("Q", bytes(8 * count) if sums is None else sums)

    def __len__(self) -> int:
        return self.count

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            os.close(file)
            self._file = None

    def append(self, rows: Tensor) -> None:
        """Add rows ``(B, *shape)``."""
        values = rows.detach().to("cpu", self.dtype).contiguous().numpy().reshape(len(rows), *self.shape)
        if self.path is not None:
            if len(values):
                write_at(self._opened(self.path), values.tobytes(), self.count * self.row_bytes)
            self._sum(values)
            self.count += len(values)
            return
        self._sum(values)
        for value in values:
            block, at = divmod(self.count, self._per_block)
            if block == len(self._blocks):
                self._blocks.append(np.empty((self._per_block, *self.shape), self._numpy))
            self._blocks[block][at] = value
            self.count += 1

    def cut(self, count: int) -> None:
        """Only the first ``count`` rows again; what follows them is overwritten by the next ones."""
        self.count = count
        del self.sums[count:]

    def get(self, ids: np.ndarray | list[int]) -> Tensor:
        """Rows by their numbers, float32 ``(B, *shape)``.

        Raises:
            ValueError: a row of the file is not what was written there.
        """
        out = np.empty((len(ids), *self.shape), self._numpy)
        for row, number in enumerate(ids):
            if not 0 <= number < self.count:
                raise IndexError(f"there is no state {number} among {self.count}")
            if self.path is not None:
                raw = os.pread(self._opened(self.path), self.row_bytes, int(number) * self.row_bytes)
                if len(raw) != self.row_bytes or self.sums[int(number)] not in (0, row_sum(raw)):
                    raise Damaged(self.path, f"state {int(number)} in it is not what was written there")
                out[row] = np.frombuffer(raw, self._numpy).reshape(self.shape)
            else:
                block, at = divmod(int(number), self._per_block)
                out[row] = self._blocks[block][at]
        return torch.from_numpy(out).float()

    def copy_to(self, handle: int, first: int, ids: np.ndarray | None = None) -> None:
        """Write the rows from ``first`` on, or only those in ``ids``, one after the other into a file."""
        numbers = np.arange(first, self.count) if ids is None else ids
        at = first * self.row_bytes if ids is None else 0
        for begin in range(0, len(numbers), 1024):
            rows = self.get(numbers[begin : begin + 1024]).to(self.dtype).numpy().tobytes()
            write_at(handle, rows, at)
            at += len(rows)

    def sync(self) -> None:
        """Flush a file to the disk."""
        if self.path is not None:
            os.fsync(self._opened(self.path))

    def _sum(self, values: np.ndarray) -> None:
        del self.sums[self.count :]  # of an append that was broken off
        self.sums.extend(row_sum(value.tobytes()) for value in values)

    def _opened(self, path: Path) -> int:
        if self._file is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        return self._file


def row_sum(row: bytes) -> int:
    """A hash of 64 bits of a row's bytes; never 0, which stands for one that is not known."""
    return int.from_bytes(hashlib.blake2b(row, digest_size=8).digest(), "little") or 1


def write_at(handle: int, data: bytes, offset: int) -> None:
    """Write all of ``data``, however many calls the system takes for it."""
    view = memoryview(data)
    while view:
        done = os.pwrite(handle, view, offset)
        view, offset = view[done:], offset + done
