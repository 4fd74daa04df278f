"""Section `model`: the network."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from windvane.cli.common.sections.base import Section, named

_SETTINGS = {
    "unet": ("channels", "layers", "attention", "dropout"),
    "dit": ("width", "depth", "heads", "patch", "dropout"),
    "mlp": ("width", "depth"),
}


class ModelSection(Section):
    """The network and what it predicts; what is left out takes the network's own default."""

    type: Annotated[str, named("network")] = Field(default="unet", description="the backbone")
    channels: list[int] | None = Field(
        default=None, description="unet: channels of each level, full size first"
    )
    layers: int | None = Field(default=None, ge=1, le=1_000, description="unet: residual blocks per level")
    attention: list[int] | None = Field(
        default=None, description="unet: levels with attention, -1 the lowest"
    )
    width: int | None = Field(default=None, ge=8, description="dit, mlp: width of a block")
    depth: int | None = Field(default=None, ge=1, le=1_000, description="dit, mlp: number of blocks")
    heads: int | None = Field(default=None, ge=1, description="dit: attention heads")
    patch: int | None = Field(default=None, ge=1, description="dit: side of a patch in pixels")
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="dropout inside unet and dit")
    options: dict[str, Any] | None = Field(
        default=None, description="settings of a network of another package, as it names them"
    )
    prediction: Literal["eps", "x0", "v", "flow", "edm"] = Field(
        default="v", description="what the network predicts"
    )

    @model_validator(mode="after")
    def _only_its_own(self) -> "ModelSection":
        own = _SETTINGS.get(self.type, ())
        foreign = [name for name in self.given() if name not in own]
        if self.options and own:
            foreign.append("options")
        if foreign:
            known = own or ("options.NAME",)
            raise ValueError(
                f"{', '.join(foreign)} is no setting of the network {self.type}; its settings: "
                f"{', '.join(known)}, prediction"
            )
        return self

    def given(self) -> dict[str, Any]:
        """The settings of the network that were given; a dropout of zero is none."""
        values = self.model_dump(exclude={"type", "prediction", "options"}, exclude_none=True)
        return {name: value for name, value in values.items() if name != "dropout" or value}
