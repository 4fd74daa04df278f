"""The rule that made boxes or masks, saved with them, so that new images can be looked at in the same way.

In the folder of the annotation lie ``rule`` (its settings and what it learnt) and ``dense`` (the features it
stands on: settings and weights, what loads a model of a hub, or for others the version alone).
"""

from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from windvane.annotate.dense.dense_extractor import DenseExtractor
from windvane.annotate.dense.dense_storage import read_dense, write_dense
from windvane.annotate.features.extractor_storage import load_extractor, write_extractor
from windvane.annotate.images.annotation import Annotation
from windvane.annotate.regions.annotations import BoxAnnotation, MaskAnnotation, Origin
from windvane.annotate.regions.masks.patch_clusters import PatchClusters
from windvane.annotate.regions.masks.stego import Stego
from windvane.annotate.regions.rules import ObjectRule, RegionRule

RULES: dict[str, Any] = {ObjectRule.kind: ObjectRule, PatchClusters.kind: PatchClusters, Stego.kind: Stego}
RULE, DENSE = "rule", "dense"


def write_rule(rule: RegionRule | None, folder: Path) -> None:
    """Write a rule into the folder of an annotation; one that is none of the library's is left out."""
    if rule is None or getattr(rule, "kind", None) not in RULES:
        return
    for name, write in ((RULE, write_extractor), (DENSE, write_dense)):
        (folder / name).mkdir()
        part: Any = rule if name == RULE else rule.extractor
        write(part, folder / name)


def read_rule(folder: Path, made_by: str, extractor: DenseExtractor | None = None) -> RegionRule | None:
    """The rule in the folder of an annotation, or None where there is none.

    Args:
        folder: of the annotation.
        made_by: the version that the annotation says it was made by.
        extractor: the features, where they are not saved with it.

    Raises:
        ValueError: damaged files, features of another version, or a rule that did not make the annotation.
    """
    if not (folder / RULE).is_dir():
        return None
    dense = read_dense(folder / DENSE, extractor)
    kinds = {kind: partial(made.restore, extractor=dense) for kind, made in RULES.items()}
    rule: RegionRule = load_extractor(folder / RULE, kinds=kinds)
    if made_by not in (rule.name, rule.extractor.name):
        raise ValueError(f"the rule in {folder} is {rule.name}, but the annotation was made by {made_by}")
    return rule


def regions_of(
    annotation: BoxAnnotation | MaskAnnotation, images: Tensor, *, labels: Annotation | None = None
) -> BoxAnnotation | MaskAnnotation:
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
    found, about = rule(images), Origin(origin.source, origin.made_by, origin.settings, rule=rule)
    if isinstance(annotation, MaskAnnotation):
        return MaskAnnotation(found, annotation.k, origin=about)
    ids = None if labels is None else labels(images)
    return BoxAnnotation(
        found, size=annotation.size, origin=about, ids=ids, k=None if labels is None else labels.k
    )
