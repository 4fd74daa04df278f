"""Masks found without labels against true masks: clusters are matched to classes, then compared."""

import torch
from torch import Tensor

from windvane.metrics.bootstrap import linear_bootstrap
from windvane.metrics.result import Metric

#: True pixels of this value belong to no class and are not counted.
IGNORED = 255
_PIXELS = 1 << 24


def confusion(predicted: Tensor, true: Tensor, *, k: int | None = None, classes: int | None = None) -> Tensor:
    """Pixels of every image by predicted cluster and true class: int64 ``(n, k, classes)``.

    Args:
        predicted: cluster ids ``(n, H, W)``, 0..k-1.
        true: class ids ``(n, H, W)``, 0..classes-1, or 255 for pixels that are not counted.
        k: the number of clusters; None takes the largest id.
        classes: the number of classes; None takes the largest id.

    Raises:
        ValueError: masks of different shapes, or ids out of range.
    """
    if predicted.shape != true.shape or predicted.ndim != 3 or len(true) == 0:
        raise ValueError(
            f"masks must have one shape (n, H, W), got {tuple(predicted.shape)} and {tuple(true.shape)}"
        )
    predicted, true = predicted.flatten(1).long(), true.flatten(1).long().to(predicted.device)
    counted = true != IGNORED
    k = _count(predicted, k, "clusters")
    classes = _count(true[counted], classes, "classes")
    cells = torch.where(counted, predicted * classes + true, k * classes)
    out = torch.zeros(len(true), k * classes + 1, dtype=torch.int64, device=true.device)
    step = max(1, _PIXELS // true.shape[1])
    for start in range(0, len(true), step):
        part = cells[start : start + step]
        out[start : start + step].scatter_add_(1, part, torch.ones_like(part))
    return out[:, :-1].reshape(len(true), k, classes).cpu()


def _count(ids: Tensor, given: int | None, what: str) -> int:
    low, high = (int(ids.min()), int(ids.max())) if ids.numel() else (0, 0)
    if low < 0 or (given is not None and high >= given):
        raise ValueError(
            f"ids of {what} must lie in 0..{'' if given is None else given - 1}, got {low}..{high}"
        )
    return high + 1 if given is None else given


def match_clusters(counts: Tensor) -> Tensor:
    """The class of each cluster, int64 ``(k,)``; -1 for clusters that get none.

    One cluster a class and one class a cluster, such that most pixels agree (Hungarian method). With more
    clusters than classes the spare clusters agree with nothing.

    Args:
        counts: pixels by cluster and class ``(k, classes)``.
    """
    from scipy.optimize import linear_sum_assignment

    clusters, classes = linear_sum_assignment(counts.numpy(), maximize=True)
    found = torch.full((len(counts),), -1, dtype=torch.int64)
    found[torch.from_numpy(clusters)] = torch.from_numpy(classes)
    return found


def mean_iou(
    predicted: Tensor,
    true: Tensor,
    *,
    k: int | None = None,
    classes: int | None = None,
    matched: bool = False,
    level: float = 0.95,
    resamples: int = 1000,
    extractor: str = "masks as given",
) -> Metric:
    """Mean over the classes of |predicted and true| / |predicted or true|, pixels of all images together.

    Clusters are first matched to classes by :func:`match_clusters` on the same masks. Classes without a
    single true pixel are left out of the mean. The interval is about resampled images, for this matching.

    Args:
        predicted: cluster ids ``(n, H, W)``.
        true: class ids ``(n, H, W)``; 255 is not counted.
        k: the number of clusters.
        classes: the number of classes.
        matched: the ids are classes already; no matching.
        level: of the interval.
        resamples: bootstrap draws.
        extractor: what made the masks, for the record.
    """
    counts, mapping = _matched(predicted, true, k, classes, matched)
    hit, either = _by_class(counts, mapping)
    seen = counts.sum(dim=(0, 1)) > 0
    shares = hit.sum(dim=0)[seen].double() / either.sum(dim=0)[seen]
    # A ratio of sums changes by (hit_i - share * either_i) / mean either with the weight of image i.
    influence = (hit[:, seen] - shares * either[:, seen]) / either[:, seen].double().mean(dim=0)
    found = {int(c): float(s) for c, s in zip(seen.nonzero()[:, 0], shares)}
    details = {"iou": {str(c): s for c, s in found.items()}, "class_of_cluster": mapping.tolist()}
    return _metric(
        "mean IoU",
        float(shares.mean()),
        influence.mean(dim=1),
        details,
        level,
        resamples,
        extractor,
        counts,
        matched,
    )


def pixel_accuracy(
    predicted: Tensor,
    true: Tensor,
    *,
    k: int | None = None,
    classes: int | None = None,
    matched: bool = False,
    level: float = 0.95,
    resamples: int = 1000,
    extractor: str = "masks as given",
) -> Metric:
    """Share of counted pixels whose cluster is matched to their class; arguments as for :func:`mean_iou`."""
    counts, mapping = _matched(predicted, true, k, classes, matched)
    hit, _ = _by_class(counts, mapping)
    right, all_ = hit.sum(dim=1), counts.sum(dim=(1, 2))
    share = float(right.sum() / all_.sum())
    influence = (right - share * all_) / all_.double().mean()
    details = {"class_of_cluster": mapping.tolist()}
    return _metric("pixel accuracy", share, influence, details, level, resamples, extractor, counts, matched)


def _matched(
    predicted: Tensor, true: Tensor, k: int | None, classes: int | None, matched: bool
) -> tuple[Tensor, Tensor]:
    counts = confusion(predicted, true, k=k, classes=classes)
    if int(counts.sum()) == 0:
        raise ValueError("no true pixel is counted: all of them are 255")
    if not matched:
        return counts, match_clusters(counts.sum(dim=0))
    own = torch.arange(counts.shape[1])
    return counts, torch.where(own < counts.shape[2], own, -1)


def _by_class(counts: Tensor, mapping: Tensor) -> tuple[Tensor, Tensor]:
    """Per image and class, the pixels in both masks and in either: int64 ``(n, classes)`` each."""
    hit, predicted = torch.zeros_like(counts[:, 0]), torch.zeros_like(counts[:, 0])
    for cluster, kind in enumerate(mapping.tolist()):
        if kind >= 0:
            hit[:, kind] += counts[:, cluster, kind]
            predicted[:, kind] += counts[:, cluster].sum(dim=1)
    return hit, predicted + counts.sum(dim=1) - hit


def _metric(
    name: str,
    value: float,
    influence: Tensor,
    details: dict,
    level: float,
    resamples: int,
    extractor: str,
    counts: Tensor,
    matched: bool,
) -> Metric:
    low = high = None
    if len(counts) > 1:
        _, low, high = linear_bootstrap(value, [influence], resamples=resamples, level=level)
        low, high = max(0.0, low), min(1.0, high)
    settings = {
        "clusters": counts.shape[1],
        "classes": counts.shape[2],
        "matching": "given" if matched else "Hungarian",
    }
    return Metric(
        name=name,
        value=value,
        better="higher",
        low=low,
        high=high,
        level=level,
        extractor=extractor,
        n_samples=len(counts),
        settings=settings,
        details={**details, "interval": "linearised bootstrap over images"},
    )
