"""Does a sample show what was asked for?"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from windvane.metrics.bootstrap import proportion_interval
from windvane.metrics.features import Images, map_images
from windvane.metrics.result import Metric


class Classifier(Protocol):
    """Names its version and gives logits ``(B, K)`` for images ``(B, C, H, W)`` in [-1, 1]."""

    @property
    def name(self) -> str: ...

    def classify(self, images: Tensor) -> Tensor: ...


def agreement(
    predicted: Tensor,
    requested: Tensor,
    *,
    name: str = "agreement",
    judge: str = "given",
    level: float = 0.95,
) -> Metric:
    """Share of samples whose ``predicted`` id (n,) is the ``requested`` one (n,), with Wilson's interval.

    ``details["by_condition"]`` holds the share for each id asked for and ``details["worst"]`` the smallest.
    The judge must not be the network that guided the samples: a guide agrees with itself.
    """
    predicted, requested = as_ids(predicted, "predicted"), as_ids(requested, "requested")
    if predicted.shape != requested.shape:
        raise ValueError(f"{len(predicted)} predictions for {len(requested)} requests")
    hits = predicted == requested
    share = proportion_interval(hits, level=level)
    shares = {int(value): hits[requested == value].double().mean().item() for value in requested.unique()}
    worst = min(shares, key=lambda value: shares[value])
    return Metric(
        name=name,
        value=share.value,
        better="higher",
        low=share.low,
        high=share.high,
        level=level,
        extractor=judge,
        n_samples=len(hits),
        settings={"conditions": len(shares)},
        details={
            "interval": "Wilson's",
            "by_condition": {str(value): mean for value, mean in shares.items()},
            "worst": str(worst),
        },
    )


def judge_agreement(
    images: Images,
    requested: Tensor,
    judge: Classifier,
    *,
    meaning: Tensor | None = None,
    batch_size: int = 256,
    level: float = 0.95,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> Metric:
    """Agreement of an independent classifier's labels with the ones asked for.

    ``meaning`` (K,) translates requested ids to labels, for conditions that are clusters: see
    `majority_labels`. Ids with the meaning -1 (no member) are refused.
    """
    wanted = as_ids(requested, "requested")
    _check_rows(images, wanted)
    if meaning is not None:
        if int(wanted.max()) >= len(meaning):
            raise ValueError(
                f"id {int(wanted.max())} was requested, but only {len(meaning)} ids have a meaning"
            )
        wanted = as_ids(meaning[wanted], "the labels of the requested ids")
    logits = map_images(
        images,
        judge.classify,
        batch_size=batch_size,
        device=device,
        description=f"asking {judge.name}",
        progress=progress,
    )
    if int(wanted.max()) >= logits.shape[1]:
        raise ValueError(
            f"label {int(wanted.max())} was requested, but {judge.name} knows {logits.shape[1]} labels"
        )
    metric = agreement(logits.argmax(1), wanted, judge=judge.name, level=level)
    probability = logits.double().softmax(1).gather(1, wanted.unsqueeze(1)).mean().item()
    metric.details["mean_probability"] = probability
    return metric


def cluster_agreement(
    images: Images,
    requested: Tensor,
    assign: Callable[[Tensor], Tensor],
    *,
    name: str = "annotation",
    batch_size: int = 256,
    level: float = 0.95,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> Metric:
    """Share of samples that the annotator itself puts into the cluster asked for.

    ``assign`` maps images ``(B, C, H, W)`` to ids ``(B,)``. It needs no labels, but its clusters are those
    the model was trained with: it measures obedience, not meaning. Chance is about 1/K.
    """
    wanted = as_ids(requested, "requested")
    _check_rows(images, wanted)
    found = map_images(
        images,
        assign,
        batch_size=batch_size,
        device=device,
        description=f"assigning by {name}",
        progress=progress,
    )
    return agreement(found, wanted, name="cluster_agreement", judge=name, level=level)


def majority_labels(ids: Tensor, labels: Tensor, *, count: int | None = None) -> Tensor:
    """The most frequent label of each cluster, (K,); ties to the smaller label.

    ``ids`` and ``labels`` are those of the training images (n,), with label -1 for an image without one. A
    cluster without labelled members gets -1. ``count`` is K, by default the largest id + 1.
    """
    ids, labels = as_ids(ids, "ids"), torch.as_tensor(labels).cpu().long()
    if ids.shape != labels.shape:
        raise ValueError(f"{len(ids)} ids for {len(labels)} labels")
    if labels.max() < 0:
        raise ValueError("none of the rows has a label")
    clusters = int(ids.max()) + 1 if count is None else count
    if int(ids.max()) >= clusters:
        raise ValueError(f"id {int(ids.max())} does not fit count={clusters}")
    known = labels >= 0
    table = torch.zeros(clusters, int(labels.max()) + 1)
    table.index_put_((ids[known], labels[known]), torch.ones(int(known.sum())), accumulate=True)
    return torch.where(table.sum(1) > 0, table.argmax(1), -1)


def as_ids(values: Tensor, what: str) -> Tensor:
    """Ids (n,) as int64 on the CPU, from ids or one-hot rows; anything else is refused."""
    values = torch.as_tensor(values).detach().cpu()
    if values.ndim == 2 and values.shape[1] > 1:
        if not ((values != 0).sum(1) == 1).all():
            raise ValueError(
                f"{what}: rows with several or no entries are not ids, shape {tuple(values.shape)}"
            )
        values = values.argmax(1)
    if values.ndim != 1 or len(values) == 0 or values.is_complex():
        raise ValueError(f"{what} must be a non-empty row of ids, got the shape {tuple(values.shape)}")
    if values.is_floating_point() and not (values == values.round()).all():
        raise ValueError(f"{what} must be whole numbers, got {values[values != values.round()][0].item():g}")
    if values.min() < 0:
        raise ValueError(f"{what} must not be negative, got {int(values.min())}")
    return values.long()


def _check_rows(images: Images, requested: Tensor) -> None:
    if len(images) != len(requested):
        raise ValueError(f"{len(images)} images, but {len(requested)} requested ids")
