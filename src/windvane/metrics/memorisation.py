"""Are the samples copies? Distances to the nearest training image, judged against unseen data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from windvane.metrics.bootstrap import Interval, mean_interval, proportion_interval, wilson
from windvane.metrics.distances import Neighbours, nearest, nearest_of_parts
from windvane.metrics.features import (
    Extractor,
    Images,
    checked_features,
    extract_features,
    extractor_name,
    feature_parts,
)
from windvane.metrics.result import Metric
from windvane.randomness import generator

_BASELINE_ROWS = 5000


@dataclass(frozen=True)
class Memorisation:
    """Distance of every sample to its nearest training image, beside the same for a baseline.

    Attributes:
        distances, indices: of each sample (n,), to and of its nearest training row.
        baseline: the same distances of data that were not trained on (m,).
        baseline_kind: what the baseline is.
        threshold: the baseline's `quantile`; nearer samples are called copies.
        quantile: share of the baseline that is nearer than the threshold, hence the rate of "copies" to
            expect from a perfect generator.
        n_train: number of training rows.
        space: name of the space of the distances.
    """

    distances: Tensor
    indices: Tensor
    baseline: Tensor
    baseline_kind: str
    threshold: float
    quantile: float
    n_train: int
    space: str = "features as given"

    @property
    def copies(self) -> Tensor:
        """Which samples (n,) are nearer to a training image than the threshold."""
        return self.distances < self.threshold

    def closest(self, n: int) -> Tensor:
        """The ``n`` samples nearest to the training set, nearest first: for a picture beside `indices`."""
        return self.distances.argsort(stable=True)[:n]

    def quantiles(self, levels: Sequence[float] = (0.05, 0.5, 0.95)) -> dict[float, tuple[float, float]]:
        """For each level the quantile of the samples' and of the baseline's distances."""
        at = torch.tensor(list(levels), dtype=torch.float64)
        pairs = zip(torch.quantile(self.distances, at).tolist(), torch.quantile(self.baseline, at).tolist())
        return dict(zip(levels, pairs))

    def _share(self, level: float) -> Interval:
        # The threshold is a quantile of few rows and moves the share as much as the samples do. Both doubts
        # are combined by the squares of their reaches (Zou and Donner, 2008, "MOVER").
        share = proportion_interval(self.copies, level=level)
        of_threshold = wilson(self.quantile, len(self.baseline), level=level)
        at = torch.tensor(of_threshold[1:], dtype=torch.float64)
        fewer, more = (
            (self.distances < threshold).double().mean().item()
            for threshold in torch.quantile(self.baseline, at).tolist()
        )
        low = share.value - math.hypot(share.value - share.low, share.value - fewer)
        high = share.value + math.hypot(share.high - share.value, more - share.value)
        return Interval(share.value, max(0.0, low), min(1.0, high))

    def metrics(self, *, resamples: int = 1000, level: float = 0.95, seed: int = 0) -> list[Metric]:
        """`nearest_train` (mean distance, to be read against ``details["baseline_mean"]``) and `copies`."""
        mean = self.distances.mean().item()
        low = high = None
        if resamples and len(self.distances) > 1:
            _, low, high = mean_interval(self.distances, resamples=resamples, level=level, seed=seed)
        share = self._share(level)
        baseline = {"baseline": self.baseline_kind, "baseline_mean": self.baseline.mean().item()}
        spread = {str(at): {"samples": a, "baseline": b} for at, (a, b) in self.quantiles().items()}
        return [
            Metric(
                name="nearest_train",
                value=mean,
                better="higher",
                low=low,
                high=high,
                level=level,
                extractor=self.space,
                n_samples=len(self.distances),
                n_reference=self.n_train,
                details={**baseline, "quantiles": spread, "interval": f"bootstrap, {resamples} draws"},
            ),
            Metric(
                name="copies",
                value=share.value,
                better="lower",
                low=share.low,
                high=share.high,
                level=level,
                extractor=self.space,
                n_samples=len(self.distances),
                n_reference=self.n_train,
                settings={"quantile": self.quantile},
                details={
                    **baseline,
                    "threshold": self.threshold,
                    "interval": "Wilson's, widened by the threshold's",
                },
            ),
        ]


def nearest_training(
    samples: Tensor,
    train: Tensor,
    *,
    held_out: Tensor | None = None,
    quantile: float = 0.05,
    space: str = "features as given",
    seed: int = 0,
) -> Memorisation:
    """Distances of ``samples`` (n, D) to their nearest rows of ``train`` (N, D), Euclidean.

    Samples and baseline are treated alike. The baseline is ``held_out`` (m, D), data of the same kind that
    were not trained on; without it, every training row's distance to its nearest *other* training row (of
    at most 5000 rows chosen by ``seed``), which is the same thing up to one row in N.

    Raises:
        ValueError: wrong shapes, non-finite rows, or "held-out" data that are training rows.
    """
    _check_quantile(quantile)
    found = nearest(checked_features(samples, name="samples"), checked_features(train, name="training data"))
    if held_out is None:
        baseline, kind = _leave_one_out(train, seed), "training set, leave one out"
    else:
        baseline = nearest(checked_features(held_out, name="held-out data"), train).distances[:, 0]
        kind = "held-out data"
    return _judged(found, baseline, kind, quantile=quantile, n_train=len(train), space=space)


def nearest_training_images(
    samples: Images,
    train: Images,
    extractor: Extractor,
    *,
    held_out: Images | None = None,
    mirror: bool = False,
    quantile: float = 0.05,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    progress: bool = False,
    seed: int = 0,
) -> Memorisation:
    """`nearest_training` in the space of ``extractor`` (`Pixels` for raw pixels).

    With held-out images the training images are read once, a part at a time, so memory does not grow with
    their number. ``mirror=True`` compares each picture and its mirror image and keeps the nearer: for models
    that were trained with horizontal flips.
    """

    def features(images: Images, space: Extractor = extractor) -> Tensor:
        return extract_features(images, space, batch_size=batch_size, device=device, progress=progress)

    name = extractor_name(extractor)
    if held_out is None:
        if mirror:
            raise ValueError("mirror=True needs held_out images for a baseline")
        return nearest_training(features(samples), features(train), quantile=quantile, space=name, seed=seed)
    _check_quantile(quantile)
    looks = [extractor, _Mirrored(extractor)] if mirror else [extractor]
    rows = torch.cat([features(images, look) for look in looks for images in (samples, held_out)])
    parts = feature_parts(train, extractor, batch_size=batch_size, device=device, progress=progress)
    found = nearest_of_parts(rows, parts)
    each = len(samples) + len(held_out)
    if mirror:
        turned = found.distances[each:] < found.distances[:each]
        found = Neighbours(*(torch.where(turned, of[each:], of[:each]) for of in found))
    return _judged(
        Neighbours(*(of[: len(samples)] for of in found)),
        found.distances[len(samples) : each, 0],
        "held-out data",
        quantile=quantile,
        n_train=len(train),
        space=f"{name} or mirrored" if mirror else name,
    )


class _Mirrored:
    def __init__(self, extractor: Extractor) -> None:
        self.extractor = extractor
        self.name = f"{extractor_name(extractor)} mirrored"

    def __call__(self, images: Tensor) -> Tensor:
        return self.extractor(images.flip(-1))


def _check_quantile(quantile: float) -> None:
    if not 0 < quantile < 1:
        raise ValueError(f"quantile must lie between 0 and 1, got {quantile}")


def _leave_one_out(train: Tensor, seed: int) -> Tensor:
    if len(train) < 2:
        raise ValueError("a baseline needs held-out data or at least two training images")
    if len(train) <= _BASELINE_ROWS:
        return nearest(train, train, itself=True).distances[:, 0]
    rows = torch.randperm(len(train), generator=generator(seed))[:_BASELINE_ROWS]
    found = nearest(train[rows], train, k=2)
    # The row itself is one of the two, first unless an equal row sorts before it.
    return torch.where(found.indices[:, 0] == rows, found.distances[:, 1], found.distances[:, 0])


def _judged(
    found: Neighbours, baseline: Tensor, kind: str, *, quantile: float, n_train: int, space: str
) -> Memorisation:
    if kind == "held-out data" and (baseline == 0).double().mean() > 0.5:
        raise ValueError(
            "most held-out images are themselves training images; give data that were not trained on, or "
            "held_out=None to compare with the training set's own distances"
        )
    return Memorisation(
        distances=found.distances[:, 0],
        indices=found.indices[:, 0],
        baseline=baseline,
        baseline_kind=kind,
        threshold=torch.quantile(baseline, quantile).item(),
        quantile=quantile,
        n_train=n_train,
        space=space,
    )
