"""Who is close to the training images, cluster by cluster: real held-out images, and samples beside them."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from windvane.randomness import generator

if TYPE_CHECKING:
    from windvane.annotate import Annotation
    from windvane.data import ImageData
    from windvane.metrics.features import Extractor

#: The share of real images that may be nearer than the threshold of copies.
QUANTILE = 0.05
#: With fewer real images than this, a cluster is judged by the threshold of all of them.
_OWN_THRESHOLD = 40
#: Values of an image up to which all of them are compared.
_MOST_PIXELS = 32 * 32 * 3


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
    from windvane.metrics import Pixels, extract_features, nearest
    from windvane.metrics.features import extractor_name

    _check(annotation, data, samples, sample_ids)
    large = math.prod(data.shape) > _MOST_PIXELS
    pixels: Extractor = SmallPixels(size=32) if large else Pixels()
    space = pixels if extractor is None else extractor
    train = extract_features(data, space, progress=False)
    ids = None if held_out is None or annotation is None else held_out_ids(annotation, held_out)
    kind, real_ids = "held-out images", None
    if held_out is not None and (annotation is None or ids is not None):
        rows = _some(len(held_out), most, seed)
        real = nearest(extract_features(held_out.subset(rows), space, progress=False), train).distances[:, 0]
        real_ids = None if ids is None else ids[rows]
    else:
        kind = "training images, each left out once"
        rows = _some(len(data), most, seed)
        # The row itself is one of the two, unless an equal row sorts before it; then both are at distance 0.
        real = nearest(train[rows], train, k=2).distances[:, 1]
        real_ids = None if annotation is None else annotation.ids[rows]
    made: Tensor | None = None
    if samples is not None:
        chosen = _some(len(samples), most, seed)
        made = nearest(extract_features(samples[chosen], space, progress=False), train).distances[:, 0]
        sample_ids = None if sample_ids is None else sample_ids[chosen]
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


def held_out_ids(annotation: "Annotation", held_out: "ImageData") -> Tensor | None:
    """Ids of images that were not annotated, or None where there is no rule for them."""
    if annotation.clusters is not None and annotation.extractor is not None:
        return annotation(held_out.batch(slice(None)))
    if annotation.source == "labels" and held_out.labels is not None:
        return held_out.labels
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
