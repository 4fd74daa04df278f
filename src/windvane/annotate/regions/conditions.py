"""Boxes and masks as the conditions of a training: maps are drawn for the rows of a batch only."""

import hashlib

from torch import Tensor

from windvane.annotate.features.extractor import content_hash
from windvane.annotate.regions.annotations import BoxAnnotation, MaskAnnotation
from windvane.conditions import Condition


class RegionConditions:
    """Conditions of all rows of an annotation, made on demand.

    As one tensor the maps of n images with K ids take 4 n K H W bytes; here they take those of a batch.

    Args:
        annotation: boxes or masks, one per training image.
    """

    def __init__(self, annotation: BoxAnnotation | MaskAnnotation) -> None:
        self.annotation = annotation

    def __len__(self) -> int:
        return len(self.annotation)

    def index(self, rows: Tensor) -> Condition:
        """ "layout" and, where there is one, "vector" of the rows ``(B,)``."""
        return self.annotation.condition(rows)

    @property
    def fingerprint(self) -> str:
        """A hash of every box or mask and id, so that a training is not resumed on others."""
        found = self.annotation
        if isinstance(found, MaskAnnotation):
            tensors = {"masks": found.masks}
        else:
            tensors = {"boxes": found.boxes, "owner": found.owner}
            if found.ids is not None:
                tensors["ids"] = found.ids
        return hashlib.sha256(f"{found.k} {found.size} {content_hash(tensors)}".encode()).hexdigest()[:16]
