"""Section `annotate`: which features are clustered, and into how many clusters."""

import re
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from windvane.cli.common.sections.base import Section
from windvane.registry import known_names

_CONTROL = re.compile(r"grey|labels|(labels\+)?(random|noise:(\d+\.?\d*|\.\d+)|split:\d+)|shuffled|moved")


class AnnotateSection(Section):
    """Self-annotation at image level."""

    features: str = Field(
        default="selfsup",
        description="selfsup[:STEPS], pca[:COMPONENTS], pixels, denoiser:RUN, or hub:NAME",
    )
    k: int | Literal["auto"] = Field(default=30, description="number of clusters, or auto to choose one")
    seed: int = Field(default=0, ge=0, description="seed of learnt features and of k-means")
    flip: bool | None = Field(
        default=None,
        description="mirror images count as the same; if not said, as in train.flip, and STEGO averages over "
        "the mirror image",
    )
    batch_size: int = Field(default=256, ge=1, description="images per batch of features")
    control: str | None = Field(
        default=None,
        description="instead of the clusters: random, noise:RATIO, split:PARTS, grey, labels, or "
        "labels+random, labels+noise:RATIO, labels+split:PARTS; of boxes and masks: shuffled or moved",
    )
    backend: Literal["auto", "sklearn", "lloyd", "faiss"] = Field(
        default="auto",
        description="of k-means; auto is lloyd where images times clusters are more than 10 "
        "million, scikit-learn below",
    )
    boxes: bool = Field(default=False, description="one box an image, beside the clusters")
    masks: int | None = Field(default=None, ge=2, le=255, description="masks of so many ids, not clusters")
    method: str = Field(default="lost", description="how boxes are found")
    segmenter: str = Field(default="clusters", description="how masks are found")
    steps: int = Field(default=200, ge=1, description="training steps of STEGO")
    crf: bool = Field(default=False, description="refine STEGO's masks by a dense CRF; needs pydensecrf")
    dense: str = Field(
        default="restoration",
        description="for boxes and masks: restoration[:STEPS], patches[:SIZE], encoder[:STEPS], "
        "denoiser:RUN, hub:NAME[@ENLARGE]",
    )
    coco: str | None = Field(default=None, description="COCO-style JSON to take boxes or masks from")
    overlap: Literal["smaller", "later", "refuse"] = Field(
        default="smaller",
        description="which of two masks of coco is on top where both lie; or refuse the file",
    )
    stability: int = Field(default=3, ge=0, description="seeds to compare, 0 for none")

    @field_validator("k")
    @classmethod
    def _positive(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError(f"the number of clusters must be at least 1, got {value}")
        return value

    @field_validator("method", "segmenter")
    @classmethod
    def _registered(cls, value: str, info: ValidationInfo) -> str:
        kind = "boxes:" if info.field_name == "method" else "masks:"
        known = [name.removeprefix(kind) for name in known_names("annotator") if name.startswith(kind)]
        if value not in known:
            *others, last = (repr(name) for name in known)
            said = f"should be {', '.join(others)} or {last}"
            raise PydanticCustomError("unknown_name", said)  # type: ignore[type-var]
        return value

    @field_validator("control")
    @classmethod
    def _known_control(cls, value: str | None) -> str | None:
        kind, _, number = (value or "").rpartition("+")[2].partition(":")
        known = value is None or _CONTROL.fullmatch(value) is not None
        if not known or (kind == "noise" and float(number) > 1) or (kind == "split" and int(number) < 2):
            raise ValueError(
                f"unknown control {value!r}; known: random, noise:RATIO, split:PARTS, grey, labels, and the "
                "first three after labels+, with a ratio in [0, 1] and at least 2 parts; of boxes and masks: "
                "shuffled, moved"
            )
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> "AnnotateSection":
        if self.boxes and self.masks is not None:
            raise ValueError("boxes and masks exclude each other: a model takes one kind of map")
        if self.coco is not None and not self.boxes and self.masks is None:
            raise ValueError("coco is a file of boxes or masks: say which, by boxes or masks K")
        return self
