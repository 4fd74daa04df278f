"""Who is close to the training images, cluster by cluster: real held-out images, and samples beside them."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from windvane.randomness import generator

if TYPE_CHECKING:
    from collections.abc import Callable

    from windvane.annotate import Annotation
    from windvane.data import ImageData
    from windvane.metrics.features import Extractor

#: The share of real images that may be nearer than the threshold of copies.
QUANTILE = 0.05
#: With fewer real images than this, a cluster is judged by the threshold of all of them.
_OWN_THRESHOLD = 40
#: Values of an image up to which all of them are compared.
_MOST_PIXELS = 32 * 32 * 3
#: Images in memory at a time.
_AT_ONCE = 256


def audit(
    annotation: "Annotation | None",
    data: "ImageData",
    *,
    held_out: "ImageData | None" = None,
    samples: Tensor | None = None,
    sample_ids: Tensor | None = None,
    extractor: "Extractor | None" = None,
    most: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Distance to the nearest training image, in each cluster, of real images and of samples.

    Real images are the held-out ones where the annotation can give them ids (or they have the labels that are
    the ids), else training images, each compared with the other ones. Samples are ``nearer`` if their
    distance is below the 5 % quantile of the real images of their cluster, or of all where it has fewer than
    40; a model that copies nothing has about 5 % of them.

    Args:
        annotation, data: the ids of the training images, and these; without ids (masks, or boxes alone) all
            images and samples are looked at together.
        held_out: images that were not trained on.
        samples: ``(m, C, H, W)`` in [-1, 1], with the ids ``(m,)`` that were asked for.
        extractor: the space of the distances; None takes pixels, of images above 32 x 32 x 3 those of the
            image reduced to 32.
        most: real images and samples looked at, chosen by ``seed``.

    Returns:
        ``{"space", "baseline", "real", "samples", "clusters": [...]}``; distances are medians, None where
        there is no image.

    Raises:
        ValueError: samples without ids, another number of them, or samples of another shape than the images.
    """
    from windvane.annotate.features.pixels import Pixels as SmallPixels
    from windvane.metrics import Pixels, extract_features
    from windvane.metrics.features import extractor_name

    _check(annotation, data, samples, sample_ids)
    large = math.prod(data.shape) > _MOST_PIXELS
    pixels: Extractor = SmallPixels(size=32) if large else Pixels()
    space = pixels if extractor is None else extractor
    rule = None if annotation is None or held_out is None else rule_for(annotation, held_out)
    if held_out is not None and (annotation is None or rule is not None):
        kind, images, k = "held-out images", held_out, 1
    else:
        kind, images, k = "training images, each left out once", data, 2
        rule = None if annotation is None else annotation.ids.__getitem__
    rows = _some(len(images), most, seed)
    real_ids = None if rule is None else rule(rows)
    looked = [extract_features(images.subset(rows), space, progress=False)]
    if samples is not None:
        chosen = _some(len(samples), most, seed)
        looked.append(extract_features(samples[chosen], space, progress=False))
        sample_ids = None if sample_ids is None else sample_ids[chosen]
    # Of training images that are their own baseline, the row itself is one of the two, unless an equal row
    # sorts before it; then both are at distance 0.
    real, made = _gaps(looked, data, space, k=k)
    overall = torch.quantile(real, QUANTILE)
    clusters = []
    if annotation is not None and real_ids is not None:
        clusters = [
            _row(cluster, int(annotation.sizes[cluster]), real, real_ids, made, sample_ids, overall)
            for cluster in range(annotation.k)
        ]
    return {
        "space": extractor_name(space),
        "baseline": kind,
        "quantile": QUANTILE,
        "threshold": float(overall),
        "real": {"images": len(real), "median": float(real.median())},
        "samples": None
        if made is None
        else {
            "images": len(made),
            "median": float(made.median()),
            "nearer": float((made < overall).double().mean()),
        },
        "clusters": clusters,
    }


def _check(
    annotation: "Annotation | None", data: "ImageData", samples: Tensor | None, sample_ids: Tensor | None
) -> None:
    if samples is not None and tuple(samples.shape[1:]) != tuple(data.shape):
        raise ValueError(
            f"samples of shape {tuple(samples.shape[1:])} cannot be compared with images of {data.shape}"
        )
    named = annotation is not None and samples is not None
    if named != (sample_ids is not None) or (
        samples is not None and sample_ids is not None and len(samples) != len(sample_ids)
    ):
        raise ValueError("samples need the id that was asked for of each: give samples and sample_ids")


def _gaps(
    looked: list[Tensor], data: "ImageData", space: "Extractor", *, k: int
) -> tuple[Tensor, Tensor | None]:
    """Distances of the real images to the k-th nearest training image, and of samples to the nearest.

    Training images are read once, a part at a time: memory does not grow with their number.
    """
    from windvane.metrics import nearest_of_parts
    from windvane.metrics.features import feature_parts

    found = nearest_of_parts(torch.cat(looked), feature_parts(data, space), k=k).distances
    real, n = found[:, k - 1], len(looked[0])
    return real[:n], found[n:, 0] if len(looked) > 1 else None


def rule_for(annotation: "Annotation", held_out: "ImageData") -> "Callable[[Tensor], Tensor] | None":
    """From rows of images that were not annotated to their ids, or None where there is no rule for them."""
    labels = held_out.labels
    if annotation.clusters is not None and annotation.extractor is not None:
        return lambda rows: torch.cat([annotation(held_out.batch(part)) for part in rows.split(_AT_ONCE)])
    if annotation.source == "labels" and labels is not None:
        return lambda rows: labels[rows]
    return None


def _some(n: int, most: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=generator(seed, 8))[:most].sort().values


def _row(
    cluster: int,
    size: int,
    real: Tensor,
    real_ids: Tensor,
    made: Tensor | None,
    made_ids: Tensor | None,
    overall: Tensor,
) -> dict[str, Any]:
    own = real[real_ids == cluster]
    threshold = torch.quantile(own, QUANTILE) if len(own) >= _OWN_THRESHOLD else overall
    row: dict[str, Any] = {
        "cluster": cluster,
        "size": size,
        "real": len(own),
        "real_median": float(own.median()) if len(own) else None,
    }
    if made is not None and made_ids is not None:
        mine = made[made_ids == cluster]
        row["samples"] = len(mine)
        row["samples_median"] = float(mine.median()) if len(mine) else None
        row["nearer"] = float((mine < threshold).double().mean()) if len(mine) else None
    return row
