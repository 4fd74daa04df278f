"""What both ways of making masks share: an id for every pixel of new images."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from windvane.annotate.dense.base import DenseExtractor
from windvane.annotate.features.base import Images
from windvane.progress import track

#: Masks hold ids in one byte.
MOST = 255


class Segmenter(Protocol):
    """A fitted, frozen map from images to one id a pixel.

    ``name`` is a version that changes with every setting and everything learnt; ``extractor`` are the dense
    features it stands on.
    """

    @property
    def name(self) -> str: ...

    @property
    def k(self) -> int: ...

    @property
    def extractor(self) -> DenseExtractor: ...

    def __call__(self, images: Tensor) -> Tensor:
        """Ids uint8 ``(B, H, W)``, on the CPU, of images ``(B, C, H, W)`` in [-1, 1]."""
        ...


def segment(segmenter: Segmenter, data: Images, *, batch_size: int = 64, progress: bool = True) -> Tensor:
    """Ids of every pixel of a data set, uint8 ``(n, H, W)``; the result does not depend on the batches.

    Raises:
        ValueError: no images, or ids of another shape than the images or out of range.
    """
    if len(data) == 0 or batch_size < 1:
        raise ValueError(f"need images and batch_size >= 1, got {len(data)} images, batch_size={batch_size}")
    masks = torch.empty(len(data), *data.shape[-2:], dtype=torch.uint8)
    for rows in track(
        _batches(len(data), batch_size), "masks", total=-(-len(data) // batch_size), enabled=progress
    ):
        made = segmenter(data.batch(rows))
        if made.shape != masks[rows].shape or int(made.max()) >= segmenter.k:
            raise ValueError(
                f"{segmenter.name} gave ids up to {int(made.max())} of shape {tuple(made.shape)}; expected "
                f"ids below {segmenter.k} of shape {tuple(masks[rows].shape)}"
            )
        masks[rows] = made.cpu()
    return masks


def _batches(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def checked_k(k: int) -> int:
    """The number of clusters of a mask."""
    if not 1 <= k <= MOST:
        raise ValueError(f"masks have 1 to {MOST} clusters, got k={k}")
    return k
