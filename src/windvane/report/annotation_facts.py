"""What is known about an annotation, as plain values: the machine-readable half of its report."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from windvane.annotate import Annotation, BoxAnnotation, ChoiceOfK, MaskAnnotation
    from windvane.annotate.images.robustness import Change
    from windvane.annotate.work import Work
    from windvane.data import ImageData

_LADDER = (0.25, 0.5, 1, 2, 4)
_SEEDS = (0, 1, 2)
#: Images on which numbers of clusters are compared at most.
_MOST_FOR_CHOICE = 20_000


def candidates(k: int, n: int) -> list[int]:
    """A quarter, half, once, twice and four times ``k``: those within 2..n/5, and ``k`` itself."""
    most = min(max(n // 5, 2), n)
    return sorted({round(k * step) for step in _LADDER if 2 <= round(k * step) <= most} | {k})


def id_facts(
    annotation: "Annotation",
    data: "ImageData",
    work: "Work",
    *,
    ks: Sequence[int] | None = None,
    choice: "ChoiceOfK | Mapping[str, Any] | None" = None,
    seeds: Sequence[int] = (0, 1, 2),
    changes: "Sequence[Change] | None" = None,
) -> dict[str, Any]:
    """Sizes, agreement with labels, stability over seeds and over changed images, and evidence about K.

    What needs clusters and their features is left out for ids that were given.

    Args:
        ks: candidates for the number of clusters; None takes :func:`candidates`, () asks nothing.
        choice: evidence that is there already, instead.
        seeds: of refits; fewer than two leave out the stability, and the candidates have seeds of their own.
        changes: of the images; None takes all, () asks nothing.
    """
    from windvane.annotate import choose_k, stability
    from windvane.annotate.features.extraction import extracted
    from windvane.annotate.images.robustness import CHANGES, augmentation_stability
    from windvane.randomness import generator

    told = annotation.report(data.labels)
    clusters, extractor = annotation.clusters, annotation.extractor
    if choice is not None:
        told["choice"] = dict(choice) if isinstance(choice, Mapping) else choice.to_dict()
    if clusters is None or extractor is None:
        return told
    several = len(set(seeds)) > 1
    asked = [] if choice is not None else candidates(annotation.k, len(data)) if ks is None else ks
    if several or asked:
        values = extracted(extractor, data, work, annotation.flip)
        if several:
            told["stability"] = stability(
                values, annotation.k, seeds=seeds, backend=clusters.backend, progress=work.progress
            )
        if asked:
            some = torch.randperm(len(values), generator=generator(0, 9))[:_MOST_FOR_CHOICE]
            found = choose_k(
                values[some],
                list(asked),
                seeds=seeds if several else _SEEDS,
                backend=clusters.backend,
                progress=work.progress,
            )
            told["choice"] = {**found.to_dict(), "images": len(some)}
    wanted = CHANGES if changes is None else changes
    if wanted:
        told["augmentations"] = augmentation_stability(
            annotation,
            data,
            changes=wanted,
            batch_size=work.batch_size,
            device=work.device,
            progress=work.progress,
        )
    return told


def box_facts(boxes: "BoxAnnotation", truth: Sequence[Tensor] | None = None) -> dict[str, Any]:
    """How many boxes, how large, and CorLoc where the true boxes ``(m_i, 4)`` of each image are known.

    CorLoc: the share of images whose box (the largest one, where there are several) has IoU of at least 0.5
    with a true box. Images without a true box are left out; one without a found box counts as missed.

    Raises:
        ValueError: another number of true entries than images.
    """
    from windvane.annotate.regions.boxes.geometry import corloc, iou

    height, width = boxes.size
    sides = boxes.boxes[:, 2:] - boxes.boxes[:, :2]
    areas = sides.prod(dim=1).double() / (height * width)
    per_image = torch.bincount(boxes.owner, minlength=boxes.n)
    told: dict[str, Any] = {
        "source": boxes.origin.source,
        "made_by": boxes.origin.made_by,
        "n": boxes.n,
        "boxes": len(boxes.boxes),
        "images_without": int((per_image == 0).sum()),
        "most_in_an_image": int(per_image.max()) if boxes.n else 0,
        "area": _quantiles(areas),
    }
    if truth is None:
        return told
    if len(truth) != boxes.n:
        raise ValueError(f"true boxes of {len(truth)} images, but found ones of {boxes.n}")
    largest = largest_boxes(boxes)
    known = [i for i, true in enumerate(truth) if len(true)]
    if not known:
        return told
    best = [float(iou(largest[i].expand_as(truth[i]), truth[i]).max()) for i in known]
    told["truth"] = {
        "images": len(known),
        "corloc": corloc(largest[known], [truth[i] for i in known]),
        "mean_iou": math.fsum(best) / len(best),
    }
    return told


def largest_boxes(boxes: "BoxAnnotation") -> Tensor:
    """The largest box of each image ``(n, 4)``; zeros, which overlap with nothing, where there is none."""
    out = torch.zeros(boxes.n, 4, dtype=torch.int64)
    areas = (boxes.boxes[:, 2:] - boxes.boxes[:, :2]).prod(dim=1)
    order = areas.argsort(stable=True)
    for row, owner in zip(boxes.boxes[order], boxes.owner[order].tolist()):
        out[owner] = row  # the later ones are larger
    return out


def mask_facts(masks: "MaskAnnotation", truth: Tensor | None = None) -> dict[str, Any]:
    """Shares of the ids, and agreement with true masks ``(n, H, W)`` of class ids (255: not counted).

    Clusters are matched to classes one to one such that most pixels agree (Hungarian method).
    """
    from windvane.annotate.regions.boxes.coco_export import NAMES
    from windvane.metrics import mean_iou, pixel_accuracy

    # One id at a time: as int64 for one count of all, the masks would take eight times their memory.
    counts = torch.tensor([int((masks.masks == j).sum()) for j in range(masks.k)], dtype=torch.float64)
    told: dict[str, Any] = {
        "source": masks.origin.source,
        "made_by": masks.origin.made_by,
        "n": len(masks),
        "k": masks.k,
        "pixels": (counts / counts.sum().clamp(min=1)).tolist(),
        "images": [int((masks.masks == j).flatten(1).any(dim=1).sum()) for j in range(masks.k)],
    }
    if NAMES in masks.origin.settings:
        told[NAMES] = list(masks.origin.settings[NAMES])
    if truth is not None:
        found = mean_iou(masks.masks.long(), truth.long(), k=masks.k)
        told["truth"] = {
            "mean_iou": found.value,
            "low": found.low,
            "high": found.high,
            "iou": found.details["iou"],
            "class_of_cluster": found.details["class_of_cluster"],
            "pixel_accuracy": pixel_accuracy(masks.masks.long(), truth.long(), k=masks.k).value,
        }
    return told


def _quantiles(values: Tensor) -> dict[str, float]:
    if not len(values):
        return {}
    at = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
    return dict(zip(("5%", "50%", "95%"), torch.quantile(values, at).tolist()))
