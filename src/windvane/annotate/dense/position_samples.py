"""Images and patch vectors drawn from a data set: enough for k-means, however many there are."""

import math
from pathlib import Path

import torch
from torch import Tensor

from windvane.annotate.dense.dense_extractor import DenseExtractor
from windvane.annotate.features.extraction import extracted
from windvane.annotate.features.extractor import Images, content_hash, text_key
from windvane.annotate.patch_grid import patch_counts
from windvane.annotate.process_group import Group
from windvane.annotate.work import Work
from windvane.randomness import generator


class SomeImages:
    """Rows of a data set as a data set.

    Args:
        data: the images.
        rows: which of them, int64 ``(m,)``.
    """

    def __init__(self, data: Images, rows: Tensor) -> None:
        self._data, self._rows, self.shape = data, rows, tuple(data.shape)
        self.fingerprint = text_key("some", data.fingerprint, content_hash({"rows": rows}))

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, indices: Tensor | slice) -> Tensor:
        """Images ``(B, C, H, W)``, float32 in [-1, 1]."""
        return self._data.batch(self._rows[indices])


def at_most(data: Images, count: int, *, seed: int) -> Images:
    """All images, or ``count`` of them drawn by ``seed``, in their order."""
    if len(data) <= count:
        return data
    rows = torch.randperm(len(data), generator=generator(seed, 14))[:count].sort().values
    return SomeImages(data, rows)


class _Drawn:
    """``each`` patch vectors of every image; the positions in image i depend on the seed and on i alone."""

    task = "patch vectors"

    def __init__(self, extractor: DenseExtractor, each: int, seed: int) -> None:
        self._extractor, self._each, self._seed = extractor, each, seed
        self.name = f"drawn(each={each},seed={seed}):{extractor.name}"

    def feature(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self._each, self._extractor.dim

    def to(self, device: str | torch.device) -> None:
        if hasattr(self._extractor, "to"):
            self._extractor.to(device)

    def of_rows(self, images: Tensor, rows: slice) -> Tensor:
        flat = self._extractor(images).float().flatten(2).transpose(1, 2)
        positions = (
            torch.randperm(flat.shape[1], generator=generator(self._seed, row))[: self._each].sort().values
            for row in range(rows.start, rows.stop)
        )
        return torch.stack([vectors[chosen.to(flat.device)] for vectors, chosen in zip(flat, positions)])


def sample_vectors(
    extractor: DenseExtractor,
    data: Images,
    count: int,
    *,
    seed: int = 0,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    cache: str | Path | None = None,
    group: Group | None = None,
    progress: bool = True,
) -> Tensor:
    """About ``count`` patch vectors ``(m, dim)`` on the CPU, equally many from every image.

    The positions taken from image i depend on ``seed`` and i alone; with ``count`` at least the number of
    all patches, all are taken. Of more than ``count`` images as many are drawn first, one vector from each.

    Args:
        cache: a folder where the vectors are kept in shards, so that a killed run goes on where it was.
        group: processes that share the work and all get all vectors; they need a ``cache``.
    """
    work = Work.of(batch_size, device, cache, group, progress)
    return drawn_vectors(extractor, data, count, work, seed=seed)


def drawn_vectors(
    extractor: DenseExtractor, data: Images, count: int, work: Work, *, seed: int = 0
) -> Tensor:
    """:func:`sample_vectors`, by the work as one value."""
    data = at_most(data, count, seed=seed)
    most = math.prod(patch_counts(extractor.grid, (data.shape[-2], data.shape[-1])))
    drawn = _Drawn(extractor, min(most, max(1, count // len(data))), seed)
    return extracted(drawn, data, work).flatten(0, 1)
