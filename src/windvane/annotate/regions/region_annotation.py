"""What boxes and masks share: where they come from, the images they fit, and the conditions they give."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from windvane.annotate.annotated import Annotated
from windvane.annotate.features.extractor import Images, content_hash
from windvane.annotate.images.id_draws import draw_ids
from windvane.annotate.regions.masks.geometry import Views
from windvane.annotate.regions.region_rule import RegionRule
from windvane.annotate.regions.rule_storage import write_rule
from windvane.annotate.sealed_pair import FORMAT
from windvane.conditions import Condition


@dataclass(frozen=True)
class Origin:
    """Where boxes or masks come from.

    Args:
        source: "lost", "normalised cut", "stego", "patch-clusters", "coco", "drawn", ...
        made_by: version of the features or of the segmenter; "" for what was given by hand.
        settings: what else made them, JSON values.
        fingerprint: content hash of the images; "" where they belong to no data set.
        rule: what made them, for new images; None where there is none.
    """

    source: str
    made_by: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    rule: RegionRule | None = field(default=None, compare=False, repr=False)


class RegionAnnotation(Annotated):
    """Something known of places in n images of one size.

    Attributes:
        origin: what made it.
        size: (height, width) of the images.
        named: whether each pixel has one of ``k`` ids; else it lies inside of something, or not.
    """

    files = ("regions.json", "regions.safetensors")
    named: ClassVar[bool]
    origin: Origin

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """(height, width) of the images."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What is known, as it is saved."""

    @abstractmethod
    def condition(
        self,
        rows: Tensor | None = None,
        size: tuple[int, int] | None = None,
        *,
        views: Views | None = None,
        vector: bool = True,
    ) -> Condition:
        """Maps "layout" of the rows, and the "vector" beside them."""

    @abstractmethod
    def maps(self) -> Tensor:
        """Ids of all pixels, int64 ``(n, H, W)``; where they have none, 1 inside and 0 outside."""

    @abstractmethod
    def value(self, row: int) -> dict[str, Any]:
        """What is known of one image, as JSON values."""

    @abstractmethod
    def like(self, found: Tensor, origin: Origin, ids: Tensor | None = None, k: int | None = None) -> Self:
        """What the rule of this annotation found in other images, as an annotation of those."""

    @abstractmethod
    def moved(self, numbers: torch.Generator) -> Self:
        """Every region somewhere else in its own image, drawn uniformly; see :func:`moved_regions`."""

    def with_ids(self, ids: Tensor | None, k: int | None) -> Self:
        """The same beside other ids of whole images ``(n,)``, or none; masks have none beside them."""
        return self

    def dealt(self, order: Tensor) -> Self:
        """The regions of image ``order[i]`` for image i; the ids of whole images stay where they are."""
        return self.take(order)

    def drawn(self, seeds: Sequence[int]) -> Condition:
        """Those of training images drawn uniformly, the i-th by ``seeds[i]`` alone."""
        return self.condition(draw_ids(torch.ones(len(self)), list(seeds)))

    def conditions(self) -> "RegionConditions":
        """Maps that are made when their rows are asked for."""
        return RegionConditions(self)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Description and tensors, from which :func:`windvane.annotate.load_regions` builds it again."""
        described: dict[str, Any] = {
            "format": FORMAT,
            "kind": self.kind,
            "n": len(self),
            "size": list(self.size),
            "k": self.k,
            "source": self.origin.source,
            "made_by": self.origin.made_by,
            "settings": dict(self.origin.settings),
            "data": self.origin.fingerprint,
        }
        return described, self.tensors()

    def write_maker(self, folder: Path) -> None:
        """Write the rule that made it, if the registry knows it."""
        write_rule(self.origin.rule, folder)

    def check(self, data: Images) -> None:
        """Refuse data that this does not belong to.

        Raises:
            ValueError: images of another number, size or content.
        """
        (height, width), origin = self.size, self.origin
        if len(data) != len(self):
            raise ValueError(f"the {self.kind} are of {len(self)} images, the data have {len(data)}")
        if tuple(data.shape[-2:]) != self.size:
            raise ValueError(
                f"the {self.kind} are of images of {height} x {width} pixels, the data have "
                f"{data.shape[-2]} x {data.shape[-1]}; annotate at the size used for training"
            )
        if origin.fingerprint and data.fingerprint != origin.fingerprint:
            raise ValueError(
                f"the {self.kind} were made from other images (fingerprint {origin.fingerprint[:12]}, the "
                f"data have {data.fingerprint[:12]}); annotate again"
            )

    def check_views(self, views: Views, rows: int) -> None:
        """Refuse views of another number or size than the rows."""
        if len(views) != rows or tuple(views.source) != self.size:
            raise ValueError(
                f"{len(views)} views of images of {views.source[0]} x {views.source[1]} do not fit {rows} "
                f"rows of {self.size[0]} x {self.size[1]}"
            )


class RegionConditions:
    """Conditions of all rows of an annotation, made on demand.

    As one tensor the maps of n images with K ids take 4 n K H W bytes; here they take those of a batch.

    Args:
        annotation: boxes or masks, one per training image.
    """

    def __init__(self, annotation: RegionAnnotation) -> None:
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
        text = f"{found.k} {found.size} {content_hash(found.tensors())}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]
