"""Section `evaluate`: what is measured, and with which features."""

from pydantic import Field

from windvane.cli.common.sections.base import Section


class EvaluateSection(Section):
    """Metrics; every result carries its extractor, resize, number of images and interval."""

    n: int = Field(default=1_000, ge=2, description="pictures to make when a run is evaluated")
    features: str = Field(
        default="auto",
        description="auto (judge where labels help, else selfsup), judge, selfsup, pca[:N], pixels, hub:NAME",
    )
    metrics: list[str] | None = Field(default=None, description="which metrics; default: all that apply")
    neighbours: int = Field(default=5, ge=1, description="k of precision, recall, density and coverage")
    bootstrap: int = Field(default=500, ge=0, description="resamplings of the intervals")
    allow_few: bool = Field(default=False, description="accept fewer images than features")
    batch_size: int = Field(default=256, ge=1, description="images per batch of features")
    seed: int = Field(default=0, ge=0, description="seed of the judge and of the resampling")
