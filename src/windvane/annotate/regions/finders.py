"""From images to boxes or masks, in one call."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from windvane.annotate.dense.dense_extractor import DenseExtractor, warn_if_coarse
from windvane.annotate.features.extraction import extracted
from windvane.annotate.features.extractor import Images
from windvane.annotate.images.annotation import Annotation
from windvane.annotate.process_group import Group
from windvane.annotate.regions import BoxAnnotation, MaskAnnotation, Origin, RegionAnnotation
from windvane.annotate.regions.masks.segmenter import Segmenter, segmented
from windvane.annotate.regions.region_rule import RegionRule
from windvane.annotate.regions.rule_storage import annotators
from windvane.annotate.regions.rules import Method, ObjectRule
from windvane.annotate.work import Work
from windvane.registry import find

R = TypeVar("R", bound=RegionAnnotation)


def find_boxes(
    data: Images,
    extractor: DenseExtractor,
    *,
    method: Method = "lost",
    centre: bool = True,
    patches: int = 100,
    threshold: float = 0.2,
    labels: Annotation | None = None,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    cache: str | Path | None = None,
    group: Group | None = None,
    progress: bool = True,
) -> BoxAnnotation:
    """One box for every image of a data set, without labels.

    Args:
        data: the images.
        extractor: dense features, fitted.
        method: "lost" (seed expansion) or "ncut" (normalised cut).
        centre: subtract each image's mean feature first; the published methods, on keys of DINO, do not.
        patches: how many patches may vote in LOST.
        threshold: cosine above which the normalised cut joins two patches.
        labels: image-level ids of the same images, to go beside the boxes in the condition.
        batch_size: images per call of the extractor; pairs of patches take half a GB at most, whatever it is.
        device: where to compute the features.
        cache: a folder where boxes are kept in shards, so that a killed run goes on where it was.
        group: processes that share the images and all get all boxes; they need a ``cache``.
        progress: show a bar.

    Raises:
        ValueError: an unknown method, or labels of other images.
    """
    if labels is not None:
        labels.check(data)
    options = {"centre": centre, "patches": patches, "threshold": threshold}
    rule = box_rule(extractor, method, options)
    found = found_boxes(data, rule, method, Work.of(batch_size, device, cache, group, progress))
    return found if labels is None else found.with_ids(labels.ids, labels.k)


def box_rule(extractor: DenseExtractor, method: str, options: Mapping[str, Any]) -> RegionRule:
    """The registered annotator ``boxes:METHOD``, with those of the options that it has.

    Raises:
        ValueError: an unknown method.
    """
    names = annotators("boxes")
    if method not in names:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(names)}")
    return make_rule(f"boxes:{method}", extractor, options)


def make_rule(name: str, extractor: DenseExtractor, options: Mapping[str, Any]) -> RegionRule:
    """A registered annotator on dense features, with those of the options that it has."""
    row = find("annotator", name)
    known = row.options()
    return row.make(extractor, **{key: value for key, value in options.items() if key in known})


def found_boxes(data: Images, rule: RegionRule, method: str, work: Work) -> BoxAnnotation:
    """One box for every image, by a rule that was called ``method``."""
    found, origin = _found(data, rule, method, work, "float32", 5)
    return BoxAnnotation(found.long(), size=(data.shape[-2], data.shape[-1]), origin=origin)


def _found(
    data: Images, rule: RegionRule, method: str, work: Work, dtype: str, level: int = 4
) -> tuple[Tensor, Origin]:
    warn_if_coarse(rule.extractor.grid, (data.shape[-2], data.shape[-1]), level)
    origin = Origin(method, rule.extractor.name, rule.noted(), data.fingerprint, rule)
    return extracted(rule, data, work, dtype=dtype), origin


def find_objects(
    data: Images,
    extractor: DenseExtractor,
    *,
    method: Method = "lost",
    centre: bool = True,
    patches: int = 100,
    threshold: float = 0.2,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    cache: str | Path | None = None,
    group: Group | None = None,
    progress: bool = True,
) -> MaskAnnotation:
    """The patches of one object in every image as masks: 1 the object, 0 the background.

    The same objects as :func:`find_boxes` has boxes of, with the same arguments.
    """
    rule = ObjectRule(
        extractor, gives="mask", method=method, centre=centre, patches=patches, threshold=threshold
    )
    work = Work.of(batch_size, device, cache, group, progress)
    found, origin = _found(data, rule, method, work, "uint8")
    return MaskAnnotation(found, 2, origin=origin)


def find_masks(
    data: Images,
    segmenter: Segmenter,
    *,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    cache: str | Path | None = None,
    group: Group | None = None,
    progress: bool = True,
) -> MaskAnnotation:
    """An id for every pixel of a data set, by a fitted segmenter; see :func:`.segment` for the arguments."""
    return found_masks(data, segmenter, Work.of(batch_size, device, cache, group, progress))


def found_masks(data: Images, segmenter: Segmenter, work: Work) -> MaskAnnotation:
    """:func:`find_masks`, by the work as one value."""
    warn_if_coarse(segmenter.extractor.grid, (data.shape[-2], data.shape[-1]))
    masks = segmented(segmenter, data, work)
    kind = getattr(segmenter, "kind", type(segmenter).__name__)
    # What can be built again from settings and state can be saved as the rule for new images.
    rule: Any = segmenter if hasattr(segmenter, "settings") and hasattr(segmenter, "state") else None
    noted = {"extractor": segmenter.extractor.name}
    origin = Origin(kind, segmenter.name, noted, data.fingerprint, rule)
    return MaskAnnotation(masks, segmenter.k, origin=origin)


def regions_of(annotation: R, images: Tensor, *, labels: Annotation | None = None) -> R:
    """Boxes or masks of new images, by the rule that made an annotation.

    Args:
        annotation: found by the library, or loaded.
        images: ``(B, C, H, W)`` in [-1, 1], of the size of the images it was made from.
        labels: the image-level annotation whose ids stand beside boxes; its rule gives those of the images.

    Returns:
        An annotation of B images, whose ``condition()`` asks a model for the like of them.

    Raises:
        ValueError: an annotation without a rule (by hand, from a file, a control), or images of another size.
    """
    rule, origin = annotation.origin.rule, annotation.origin
    if rule is None:
        raise ValueError(
            f"these {annotation.kind} ({origin.source}) come without the rule that made them, so they say "
            "nothing about new images"
        )
    if tuple(images.shape[-2:]) != annotation.size:
        raise ValueError(
            f"the {annotation.kind} are of images of {annotation.size[0]} x {annotation.size[1]} pixels, got "
            f"{images.shape[-2]} x {images.shape[-1]}"
        )
    about = Origin(origin.source, origin.made_by, origin.settings, rule=rule)
    ids = None if labels is None else labels(images)
    return annotation.like(rule(images), about, ids, None if labels is None else labels.k)
