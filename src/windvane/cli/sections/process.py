"""Section `process`: how noise is added."""

from typing import Literal

from pydantic import Field, model_validator

from windvane.cli.sections.base import Section

_PARAMETERS = {
    "vp_linear": ("beta_min", "beta_max"),
    "vp_cosine": ("lmbda_min",),
    "edm": ("sigma_min", "sigma_max"),
    "rectified_flow": (),
}


class ProcessSection(Section):
    """The noising process; parameters that are left out take the process's own defaults."""

    type: Literal["vp_linear", "vp_cosine", "edm", "rectified_flow"] = Field(
        default="vp_cosine", description="variance preserving (linear or cosine), EDM, or rectified flow"
    )
    beta_min: float | None = Field(default=None, gt=0, description="vp_linear")
    beta_max: float | None = Field(default=None, gt=0, description="vp_linear")
    lmbda_min: float | None = Field(default=None, description="vp_cosine: log-SNR at the noisy end")
    sigma_min: float | None = Field(default=None, gt=0, description="edm")
    sigma_max: float | None = Field(default=None, gt=0, description="edm")

    @model_validator(mode="after")
    def _only_its_own(self) -> "ProcessSection":
        foreign = [name for name in self.parameters() if name not in _PARAMETERS[self.type]]
        if foreign:
            own = ", ".join(_PARAMETERS[self.type]) or "none"
            raise ValueError(f"{', '.join(foreign)} is no parameter of {self.type}; its parameters: {own}")
        return self

    def parameters(self) -> dict[str, float]:
        """The parameters that were given."""
        return {k: v for k, v in self.model_dump(exclude={"type"}).items() if v is not None}
