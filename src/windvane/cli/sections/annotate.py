"""Section `annotate`: which features are clustered, and into how many clusters."""

from pydantic import Field

from windvane.cli.sections.base import Section


class AnnotateSection(Section):
    """Self-annotation at image level."""

    features: str = Field(
        default="pca",
        description="pca[:DIM], pixels, selfsup, denoiser:RUN, or hub:NAME (transformers encoder)",
    )
    k: int = Field(default=30, ge=1, description="number of clusters")
    seed: int = Field(default=0, ge=0, description="seed of the feature training and of k-means")
    batch_size: int = Field(default=128, ge=1, description="images per feature batch")
    steps: int | None = Field(default=None, ge=1, description="training steps of selfsup features")
    stability: int = Field(default=0, ge=0, description="refit so many times and report the agreement")
