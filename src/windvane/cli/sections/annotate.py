"""Section `annotate`: which features are clustered, and into how many clusters."""

from typing import Literal

from pydantic import Field, field_validator

from windvane.cli.sections.base import Section


class AnnotateSection(Section):
    """Self-annotation at image level."""

    features: str = Field(
        default="selfsup",
        description="selfsup[:STEPS], pca[:COMPONENTS], pixels, denoiser:RUN, or hub:NAME",
    )
    k: int | Literal["auto"] = Field(default=30, description="number of clusters, or auto to choose one")
    seed: int = Field(default=0, ge=0, description="seed of learnt features and of k-means")
    flip: bool = Field(default=False, description="mirror images count as the same")
    batch_size: int = Field(default=256, ge=1, description="images per batch of features")
    stability: int = Field(default=3, ge=0, description="seeds to compare, 0 for none")

    @field_validator("k")
    @classmethod
    def _positive(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError(f"the number of clusters must be at least 1, got {value}")
        return value
