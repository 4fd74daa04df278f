"""Section `data`: which images, at what size, and which of them are kept out of training."""

from typing import Literal

from pydantic import Field

from windvane.cli.common.sections.base import Section


class DataSection(Section):
    """The images."""

    source: str | None = Field(
        default=None, description="digits, a folder, a .parquet, .npy or .npz file, or hub:NAME"
    )
    split: str | None = Field(default=None, description="which split of a hub data set")
    size: int | None = Field(
        default=None, ge=2, le=8192, description="side in pixels; default: as the data has it"
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="1 for grey, 3 for colour; default: as the data has it"
    )
    limit: int | None = Field(default=None, ge=2, description="use at most so many images, drawn by the seed")
    holdout: float = Field(
        default=0.1, ge=0.0, lt=1.0, description="share kept out of training, to measure on"
    )
    seed: int = Field(default=0, ge=0, description="seed of the choice of held-out images")
    strict: bool = Field(default=False, description="refuse data with an image that cannot be read")
    labels: Literal["auto", "folders", "none"] = Field(
        default="auto", description="none, folders as classes, or auto: folders that look like classes"
    )
    names: str | None = Field(
        default=None, description="file with the names of the classes: one a line, or id,name"
    )
    image_column: str | None = Field(
        default=None, description="of parquet files and the hub: where the images are"
    )
    label_column: str | None = Field(default=None, description="of the same: where the labels are")
    layout: Literal["NCHW", "NHWC", "NHW"] | None = Field(
        default=None, description="of .npy and .npz files: the axes; default: told by their lengths"
    )
    value_range: tuple[float, float] | None = Field(
        default=None, description="of the same: the values of black and white, such as [0, 65535]"
    )
    depth: Literal["full", "stretch"] = Field(
        default="full", description="grey of more than 8 bits: its full range, or each picture's own"
    )
    max_pixels: int = Field(
        default=89_478_485,
        ge=1,
        description="larger pictures are left out; a JPEG counts as decoded",
    )
    cache: bool = Field(default=True, description="keep decoded pictures in the cache folder")
