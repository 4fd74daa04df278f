"""Section `sample`: how pictures are made from a trained model."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from windvane.cli.common.sections.base import Section, named
from windvane.registry import known_names

Level = Annotated[float, Field(allow_inf_nan=True)]
SamplerName = Annotated[str, named("sampler")]
GridName = Annotated[str, named("grid")]


class SampleSection(Section):
    """Sampling and guidance; weight 1 is the plain conditional model, 0 the unconditional one."""

    n: int = Field(default=64, ge=1, description="number of pictures")
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="the pictures have the seeds seed, seed + 1, ..."
    )
    sampler: SamplerName = Field(default="ddim", description=", ".join(known_names("sampler")))
    eta: float = Field(default=0.0, ge=0, le=1, description="ddim: share of fresh noise")
    steps: int = Field(default=50, ge=1, le=100_000, description="sampling steps")
    grid: GridName | None = Field(
        default=None, description="where the steps are; default: the sampler's usual choice"
    )
    condition: Literal["empirical", "uniform", "none"] = Field(
        default="empirical", description="ids drawn as often as in training, uniformly, or none"
    )
    cluster: int | None = Field(default=None, ge=0, description="this cluster for every picture")
    boxes: str | None = Field(default=None, description="JSON file of boxes for the pictures")
    mask: str | None = Field(default=None, description="mask for the pictures, or a folder of masks")
    like: str | None = Field(
        default=None, description="a picture, or a folder of them, whose cluster, boxes or mask to ask for"
    )
    weight: float = Field(
        default=1.0, description="guidance: 1 the conditional model, 0 the unconditional one"
    )
    guidance: list[str] | None = Field(
        default=None, description="NAME or NAME:OPTION=VALUE,... instead of cfg; the first is the innermost"
    )
    interval: tuple[Level, Level] | None = Field(
        default=None, description="guide only where sigma/alpha is between these noise levels"
    )
    batch_size: int = Field(
        default=64, ge=1, description="pictures at a time; changes nothing but memory and speed"
    )
    weights: Literal["ema", "raw"] = Field(default="ema", description="ema (averaged) or raw")
    clip: bool = Field(
        default=True, description="keep the predicted picture in the range of pixels at every step"
    )

    precision: Literal["float32", "bf16"] = Field(
        default="float32", description="bf16 runs the network in bfloat16: quick on CUDA, slow on most CPUs"
    )
    compile: bool = Field(
        default=False, description="torch.compile the network: slow start, quick steps; for many pictures"
    )

    @model_validator(mode="after")
    def _interval_in_order(self) -> "SampleSection":
        if self.interval is not None and not 0 <= self.interval[0] < self.interval[1]:
            raise ValueError(f"interval needs 0 <= low < high, got {list(self.interval)}")
        return self
