"""Annotations on disk: a folder that is whole or absent, and refused with the reason when it does not fit.

Of ids, ``annotation.json`` says what they are; ``vector.safetensors`` holds ids, sizes, centres and
distances; a fitted extractor's own ``extractor.json`` and ``extractor.safetensors`` lie beside them.

Of boxes and masks, ``regions.json`` says what they are and what made them; ``regions.safetensors`` holds the
tensors. The image-level annotation whose ids stand beside boxes may lie in the folder ``clusters``; what made
them lies in ``rule`` and ``dense`` (see :mod:`windvane.annotate.regions.rule_storage`).
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from windvane.annotate.annotated import Annotated
from windvane.annotate.dense.dense_extractor import DenseExtractor
from windvane.annotate.features.extractor import FeatureExtractor, Images
from windvane.annotate.images.annotation import Annotation
from windvane.annotate.regions import BoxAnnotation, MaskAnnotation, Origin
from windvane.annotate.regions.rule_storage import read_rule
from windvane.annotate.sealed_pair import checked_pair, read_pair

#: The folder of the ids beside boxes, in that of the boxes.
BESIDE = "clusters"


def save_annotation(annotation: Annotated, path: str | Path) -> None:
    """Write an annotation of any kind as a folder, atomically; see :meth:`.Annotated.save`."""
    annotation.save(path)


def load_annotation(
    path: str | Path, *, data: Images | None = None, extractor: FeatureExtractor | None = None
) -> Annotation:
    """Load ids; see :meth:`windvane.annotate.Annotation.load`."""
    return Annotation.load(path, data=data, extractor=extractor)


save_regions = save_annotation


def load_regions(
    path: str | Path,
    *,
    data: Images | None = None,
    made_by: str | None = None,
    extractor: DenseExtractor | None = None,
) -> BoxAnnotation | MaskAnnotation:
    """Load what :func:`save_regions` wrote.

    Args:
        path: the folder.
        data: the images it must belong to; None does not ask.
        made_by: the version (``.name``) of the features or the segmenter it must come from; None does not
            ask.
        extractor: the dense features, where they are not saved with it (those of a denoiser); only new images
            need them.

    Raises:
        ValueError: files missing or damaged, boxes or ids out of range, other images or images of another
            size, another version of the features.
    """
    folder, described, tensors = read_pair(path, MaskAnnotation.files, "boxes or masks")
    with checked_pair(described, tensors, *(folder / name for name in MaskAnnotation.files)):
        origin = Origin(described["source"], described["made_by"], described["settings"], described["data"])
        origin = replace(origin, rule=read_rule(folder, origin.made_by, extractor))
        made = _built(described, tensors, origin)
    if made_by is not None and origin.made_by != made_by:
        raise ValueError(
            f"the regions in {folder} were made by {origin.made_by}, not by {made_by}; annotate again"
        )
    if data is not None:
        made.check(data)
    return made


def _built(
    described: Mapping[str, Any], tensors: Mapping[str, Tensor], origin: Origin
) -> BoxAnnotation | MaskAnnotation:
    size = (int(described["size"][0]), int(described["size"][1]))
    if described["kind"] == BoxAnnotation.kind:
        return BoxAnnotation(
            tensors["boxes"],
            owner=tensors["owner"],
            n=described["n"],
            size=size,
            origin=origin,
            ids=tensors.get("ids"),
            k=described["k"],
        )
    if described["kind"] != MaskAnnotation.kind:
        raise ValueError(f"it says it holds {described['kind']!r}; known: boxes, masks")
    masks = tensors["masks"]
    if tuple(masks.shape) != (described["n"], *size):
        raise ValueError(
            f"it says {described['n']} images of {size[0]} x {size[1]}, its masks are {tuple(masks.shape)}"
        )
    return MaskAnnotation(masks, described["k"], origin=origin)
