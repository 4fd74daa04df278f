"""Section `model`: the network."""

from typing import Literal

from pydantic import Field

from windvane.cli.sections.base import Section


class ModelSection(Section):
    """The network and what it predicts; what is left out takes the network's own default."""

    type: Literal["unet", "dit", "mlp"] = Field(default="unet", description="the backbone")
    channels: list[int] | None = Field(
        default=None, description="unet: channels of each level, full size first"
    )
    layers: int | None = Field(default=None, ge=1, description="unet: residual blocks per level")
    attention: list[int] | None = Field(
        default=None, description="unet: levels with attention, -1 the lowest"
    )
    width: int | None = Field(default=None, ge=8, description="dit, mlp: width of a block")
    depth: int | None = Field(default=None, ge=1, description="dit, mlp: number of blocks")
    heads: int | None = Field(default=None, ge=1, description="dit: attention heads")
    patch: int | None = Field(default=None, ge=1, description="dit: side of a patch in pixels")
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="dropout inside unet and dit")
    prediction: Literal["eps", "x0", "v", "flow", "edm"] = Field(
        default="v", description="what the network predicts"
    )
