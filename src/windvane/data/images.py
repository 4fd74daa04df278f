"""A set of images (or vectors) in memory or on disk, with labels that are carried along for evaluation."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from windvane.data.duplicates import together
from windvane.data.longtail import longtail_counts
from windvane.data.shuffle import permutation

if TYPE_CHECKING:
    from windvane.data.scan import Scan

Rows = Tensor | slice | Sequence[int] | np.ndarray

_CHUNK_BYTES = 1 << 26


class ImageData:
    """n images of one shape; `batch` gives them as float32 in [-1, 1].

    Eight-bit values v become v / 127.5 - 1, so 0 is -1 and 255 is exactly 1. The store may be a read-only
    `np.memmap`: only the rows asked for are read. Subsets share the store.

    Args:
        store: (n, C, H, W), or (n, D) for vectors; uint8 in 0..255, or float in [-1, 1] (vectors: any range).
        labels: (n,) integers, -1 for a row without a label; for evaluation only, no training reads them.
        label_names: name of label k at position k.
        names: n names; default "0", "1", ….
        scan: what was found while loading, if the source is a set of files.
        fingerprint: known content hash of the whole store; computed on first use otherwise.

    Attributes:
        shape: shape of one row, (C, H, W) or (D,).
        labels, label_names, names, scan: as above, for the rows of this set.

    Raises:
        ValueError: for another dtype, lengths that do not match, or image values outside [-1, 1].
    """

    def __init__(
        self,
        store: np.ndarray,
        *,
        labels: Tensor | np.ndarray | Sequence[int] | None = None,
        label_names: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        scan: "Scan | None" = None,
        fingerprint: str | None = None,
    ) -> None:
        if store.ndim < 2:
            raise ValueError(f"images must be (n, C, H, W), vectors (n, D); got shape {store.shape}")
        if store.dtype != np.uint8 and store.dtype != np.float32:
            raise ValueError(f"pixels must be uint8 or float32, got {store.dtype}; see from_arrays")
        if store.dtype == np.float32 and store.ndim == 4 and not isinstance(store, np.memmap):
            _check_range(store)
        self._store = store
        self._rows: np.ndarray | None = None
        self._fingerprint = fingerprint
        #: What the values are known to be: "digits" for the embedded handwritten digits.
        self.origin: str | None = None
        #: Where `label_names` are from, in words; None for names of the caller.
        self.names_from: str | None = None
        self.labels = _as_labels(labels, len(store), label_names)
        self.label_names = list(label_names) if label_names is not None else None
        self.names = list(names) if names is not None else [str(i) for i in range(len(store))]
        if len(self.names) != len(store):
            raise ValueError(f"{len(self.names)} names for {len(store)} rows")
        self.scan = scan

    def __len__(self) -> int:
        return len(self._store if self._rows is None else self._rows)

    def __repr__(self) -> str:
        where = "on disk" if isinstance(self._store, np.memmap) else "in memory"
        classes = "no labels" if self.labels is None else f"{len(self.label_counts())} classes"
        return f"ImageData({len(self)} x {self.shape}, {self._store.dtype}, {classes}, {where})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row: (C, H, W), or (D,) for vectors."""
        return tuple(self._store.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """How values are stored: uint8 or float32."""
        return self._store.dtype

    def _take(self, indices: Rows) -> np.ndarray:
        n = len(self)
        if isinstance(indices, slice):
            if self._rows is None:
                return np.array(self._store[indices])
            return np.asarray(self._store[self._rows[indices]])
        rows = self._positions(indices, n)
        return np.asarray(self._store[rows if self._rows is None else self._rows[rows]])

    @staticmethod
    def _positions(indices: Rows, n: int) -> np.ndarray:
        rows = np.asarray(indices.cpu() if isinstance(indices, Tensor) else indices)
        if rows.size == 0 and rows.ndim == 1:
            rows = rows.astype(np.int64)
        if rows.dtype == bool and rows.shape == (n,):
            return np.flatnonzero(rows)
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise ValueError(
                f"indices must be a slice, (B,) integers or an (n,) mask, got {rows.dtype} {rows.shape}"
            )
        if rows.size and not (-n <= rows.min() and rows.max() < n):
            raise IndexError(
                f"index {rows.max() if rows.max() >= n else rows.min()} is out of range for {n} rows"
            )
        return rows

    def batch(self, indices: Rows) -> Tensor:
        """Rows `indices` (integers, a slice, or an (n,) mask) as float32 (B, *shape); images in [-1, 1]."""
        taken = torch.from_numpy(np.ascontiguousarray(self._take(indices)))
        if taken.dtype == torch.uint8:
            return taken.to(torch.float32).div_(127.5).sub_(1)
        return taken

    def pixels(self, indices: Rows) -> np.ndarray:
        """Rows `indices` as uint8 (B, C, H, W); float values x are rounded to (x + 1) * 127.5."""
        taken = self._take(indices)
        if taken.dtype == np.uint8:
            return taken
        if len(self.shape) != 3:
            raise ValueError(f"only images have pixels, these rows have shape {self.shape}")
        return np.clip(np.rint((taken.astype(np.float64) + 1) * 127.5), 0, 255).astype(np.uint8)

    def __getitem__(self, index: int | Rows) -> Tensor:
        if isinstance(index, int | np.integer):
            return self.batch([int(index)])[0]
        return self.batch(index)

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) over the values, their dtype and shape: where the files lie, their names and the
        labels play no part."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for chunk in self._chunks():
                digest.update(np.ascontiguousarray(self._take(chunk)).data)
            self._fingerprint = seal(digest, self._store.dtype, (len(self), *self.shape))
        return self._fingerprint

    def _chunks(self) -> list[slice]:
        row_bytes = max(int(np.prod(self.shape)) * self._store.itemsize, 1)
        step = max(_CHUNK_BYTES // row_bytes, 1)
        return [slice(begin, begin + step) for begin in range(0, len(self), step)]

    def label_counts(self) -> Tensor:
        """Rows per class, shape (K,), int64; rows without a label (-1) are not counted."""
        if self.labels is None:
            raise ValueError("these data carry no labels")
        return torch.bincount(self.labels[self.labels >= 0], minlength=len(self.label_names or []))

    def channel_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and population standard deviation per channel, each (C,), float64, of values as in `batch`."""
        if len(self) == 0:
            raise ValueError("an empty set has no statistics")
        total = torch.zeros(self.shape[0], dtype=torch.float64)
        squares = torch.zeros_like(total)
        for chunk in self._chunks():
            values = self.batch(chunk).double().reshape(-1, self.shape[0], int(np.prod(self.shape[1:])))
            total += values.sum(dim=(0, 2))
            squares += values.square().sum(dim=(0, 2))
        count = len(self) * int(np.prod(self.shape[1:]))
        mean = total / count
        return mean, (squares / count - mean.square()).clamp_min(0).sqrt()

    def subset(self, indices: Rows) -> "ImageData":
        """The rows `indices`, in the order given, sharing the store."""
        n = len(self)
        rows = np.arange(n)[indices] if isinstance(indices, slice) else self._positions(indices, n)
        rows = np.where(rows < 0, rows + n, rows).astype(np.int64)
        part = object.__new__(ImageData)
        part._store, part._fingerprint, part.scan = self._store, None, self.scan
        part._rows = rows if self._rows is None else self._rows[rows]
        part.labels = None if self.labels is None else self.labels[torch.from_numpy(rows)]
        part.label_names, part.origin, part.names_from = self.label_names, self.origin, self.names_from
        part.names = [self.names[i] for i in rows]
        return part

    def split(self, fractions: Sequence[float], seed: int = 0) -> tuple["ImageData", ...]:
        """Random disjoint parts, the same for the same seed on every machine.

        Duplicates that loading found, exact ones and pictures that look alike, are never on two sides: the
        whole group goes where its first row in the random order went.

        Args:
            fractions: share of each part, positive, summing to at most 1 (e.g. ``(0.8, 0.2)``).
            seed: which split.

        Raises:
            ValueError: for shares that are not positive or sum to more than 1, or a part without rows.
        """
        shares = [float(f) for f in fractions]
        if not shares or not all(f > 0 for f in shares) or sum(shares) > 1 + 1e-9:
            raise ValueError(f"fractions must be positive and sum to at most 1, got {shares}")
        ends = np.rint(np.cumsum([0.0, *shares]) * len(self)).astype(int)
        if np.any(np.diff(ends) < 1):
            raise ValueError(f"{len(self)} rows cannot be split into non-empty parts of {shares}")
        order = permutation(len(self), seed)
        side = np.full(len(self), len(shares))
        for k, (a, b) in enumerate(zip(ends[:-1], ends[1:])):
            side[order[a:b]] = k
        if len(shares) > 1:
            groups = self._duplicate_groups()
            grouped = order[groups[order] >= 0]
            first: dict[int, int] = {}
            for row in grouped:
                side[row] = first.setdefault(groups[row], side[row])
        # Sorted rows keep reads from a file on disk going forward.
        return tuple(self.subset(np.flatnonzero(side == k)) for k in range(len(shares)))

    def _duplicate_groups(self) -> np.ndarray:
        """The group of duplicates of each row, -1 for none."""
        scan = self.scan
        if scan is None:
            return np.full(len(self), -1)
        return together(self.names, [*scan.exact_duplicates, *scan.near_duplicates])

    def subsample_longtail(self, ratio: float, kind: str = "exponential", seed: int = 0) -> "ImageData":
        """A random subset whose class sizes fall with the label by the factor `ratio`; see `longtail_counts`.

        Rows without a label are left out.
        """
        counts = longtail_counts(self.label_counts().numpy(), ratio, kind)
        if self.labels is None:
            raise ValueError("these data carry no labels")
        order = permutation(len(self), seed)
        shuffled = self.labels.numpy()[order]
        kept = [order[np.flatnonzero(shuffled == k)[:count]] for k, count in enumerate(counts)]
        return self.subset(np.sort(np.concatenate(kept)))


def seal(digest: "hashlib._Hash", dtype: np.dtype, shape: tuple[int, ...]) -> str:
    """Finish the running hash of a store's bytes with dtype and shape, which the bytes alone do not fix."""
    digest.update(f"{np.dtype(dtype).name} {tuple(shape)}".encode())
    return digest.hexdigest()


def _check_range(store: np.ndarray) -> None:
    low, high = (float(store.min()), float(store.max())) if store.size else (0.0, 0.0)
    if not (-1 - 1e-6 <= low and high <= 1 + 1e-6):
        raise ValueError(
            f"float images must lie in [-1, 1], got values from {low:g} to {high:g}; see from_arrays"
        )


def _as_labels(
    labels: Tensor | np.ndarray | Sequence[int] | None, n: int, label_names: Sequence[str] | None
) -> Tensor | None:
    if labels is None:
        return None
    ids = torch.as_tensor(np.asarray(labels))
    if ids.shape != (n,) or ids.is_floating_point() or ids.is_complex():
        raise ValueError(f"labels must be {n} integers, got {ids.dtype} of shape {tuple(ids.shape)}")
    ids = ids.to(torch.int64)
    if n and (int(ids.min()) < -1 or (label_names is not None and int(ids.max()) >= len(label_names))):
        last = "K - 1" if label_names is None else len(label_names) - 1
        raise ValueError(f"labels must be -1 (none) or 0 to {last}, got {int(ids.min())} to {int(ids.max())}")
    return ids
