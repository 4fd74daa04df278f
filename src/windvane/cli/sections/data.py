"""Section `data`: which images, at what size, and which of them are kept out of training."""

from pydantic import Field

from windvane.cli.sections.base import Section


class DataSection(Section):
    """The images."""

    source: str | None = Field(
        default=None, description="digits, a folder, a .parquet, .npy or .npz file, or hub:NAME"
    )
    size: int | None = Field(
        default=None, ge=4, le=4096, description="side in pixels; default: as the data has it"
    )
    channels: int | None = Field(
        default=None, description="1 for grey, 3 for colour; default: as the data has it"
    )
    split: str | None = Field(default=None, description="which split of a hub data set")
    limit: int | None = Field(default=None, ge=1, description="use at most so many images, drawn by the seed")
    holdout: float = Field(
        default=0.1, ge=0.0, lt=1.0, description="share kept out of training, for evaluation"
    )
    seed: int = Field(default=0, ge=0, description="seed of the split into training and held-out images")
    strict: bool = Field(default=False, description="refuse the data when an image cannot be read")
