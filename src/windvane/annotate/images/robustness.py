"""Do clusters come back from changed images? The stability that seeds alone cannot show."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from windvane.annotate.features.extraction import extracted
from windvane.annotate.features.extractor import Images, text_key
from windvane.annotate.images.annotation import Annotation
from windvane.annotate.images.clusters import Clusters
from windvane.annotate.images.statistics import similarity
from windvane.annotate.work import Work
from windvane.randomness import generator

Change = Literal["mirrored", "shifted", "noisy", "darker"]
CHANGES: tuple[Change, ...] = get_args(Change)

#: Shifts go up to this share of the side; noise has this standard deviation on the scale of [-1, 1].
_SHIFT, _NOISE, _DARKER = 1 / 8, 0.1, 0.8


def changed(images: Tensor, rows: Sequence[int], change: Change, *, seed: int = 0) -> Tensor:
    """Images ``(B, C, H, W)`` in [-1, 1] with a small change; row ``rows[i]`` is changed alike in any batch.

    "mirrored" left to right; "shifted" by up to an eighth of the side, the border repeated; "noisy" with
    normal noise of 0.1; "darker" towards -1 by a fifth.

    Raises:
        ValueError: an unknown change.
    """
    if change == "mirrored":
        return images.flip(-1)
    if change == "darker":
        return (images + 1) * _DARKER - 1
    if change not in CHANGES:
        raise ValueError(f"unknown change {change!r}; known: {', '.join(CHANGES)}")
    out = torch.empty_like(images)
    height, width = images.shape[-2:]
    if change == "noisy":
        for i, row in enumerate(rows):
            noise = torch.randn(images.shape[1:], generator=generator(seed, 6, row)).to(images)
            out[i] = (images[i] + _NOISE * noise).clamp(-1, 1)
        return out
    down, across = _margins((height, width))
    padded = F.pad(images, (across, across, down, down), mode="replicate")
    for i, (y, x) in enumerate(shifts(rows, (height, width), seed=seed)):
        out[i] = padded[i, :, down + y : down + y + height, across + x : across + x + width]
    return out


def shifts(rows: Sequence[int], size: tuple[int, int], *, seed: int = 0) -> list[tuple[int, int]]:
    """(down, across) of "shifted": pixel (y, x) of a row's image becomes that at (y + down, x + across)."""
    found = []
    for row in rows:
        numbers = generator(seed, 6, row)
        down, across = (int(torch.randint(2 * m + 1, (), generator=numbers)) - m for m in _margins(size))
        found.append((down, across))
    return found


def _margins(size: tuple[int, int]) -> list[int]:
    return [max(1, round(side * _SHIFT)) for side in size]


class ChangedImages:
    """Rows of a data set, each with the same small change: what :func:`changed` makes of them.

    Args:
        data: the images.
        rows: which of them, int64 ``(m,)``.
        change: the change, or None for the images as they are.
        seed: of shifts and noise.
    """

    def __init__(self, data: Images, rows: Tensor, change: Change | None, *, seed: int = 0) -> None:
        self._data, self._rows, self._change, self._seed = data, rows, change, seed
        self.shape = tuple(data.shape)
        self.fingerprint = text_key(data.fingerprint, rows.tolist(), change, seed)

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, indices: Tensor | slice) -> Tensor:
        """Images ``(B, C, H, W)``, float32 in [-1, 1]."""
        rows = self._rows[indices]
        images = self._data.batch(rows)
        return (
            images if self._change is None else changed(images, rows.tolist(), self._change, seed=self._seed)
        )


def augmentation_stability(
    annotation: Annotation,
    data: Images,
    *,
    changes: Sequence[Change] = CHANGES,
    most: int = 1000,
    seed: int = 0,
    batch_size: int = 256,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Ids and clusters of slightly changed images beside those of the images themselves.

    ``kept`` is the share of images that the frozen centres give the same id; ``ami`` and ``ari`` compare
    k-means refitted on the features of the changed images with k-means of the same seed refitted on those of
    the unchanged ones, adjusted for chance: 1 for equal partitions, 0 for independent ones.

    Args:
        annotation: clusters, with their features.
        data: the images it was made from.
        changes: which, see :func:`changed`.
        most: images looked at, chosen by ``seed``; at least 20 a cluster as far as there are as many.
        seed: of the choice, of shifts and of noise.
        batch_size, device, progress: of the features.

    Returns:
        ``{"images": m, "changes": {change: {"kept", "ami", "ari"}}}``.

    Raises:
        ValueError: ids that were given and not clustered, or features that are not at hand.
    """
    clusters, extractor = annotation.clusters, annotation.extractor
    if clusters is None or extractor is None:
        raise ValueError(f"these ids ({annotation.source}) come without features that could look again")
    annotation.check(data)
    work = Work(batch_size, device, progress=progress)
    count = min(len(data), max(most, 20 * clusters.k))
    rows = torch.randperm(len(data), generator=generator(seed, 7))[:count].sort().values

    def features(change: Change | None) -> Tensor:
        seen = ChangedImages(data, rows, change, seed=seed)
        return extracted(extractor, seen, work, annotation.flip)

    def refitted(values: Tensor) -> Tensor:
        return (
            Clusters(clusters.k, seed=clusters.seed, normalise=clusters.normalise).fit(values).assign(values)
        )

    base = refitted(features(None))
    found = {}
    for change in changes:
        values = features(change)
        kept = (clusters.assign(values) == annotation.ids[rows]).double().mean()
        found[change] = {"kept": float(kept), **similarity(base, refitted(values))}
    return {"images": count, "changes": found}
