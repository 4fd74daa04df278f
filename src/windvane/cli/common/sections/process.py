"""Section `process`: how noise is added."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from windvane.cli.common.sections.base import Section, named

_PARAMETERS = {
    "vp_linear": ("beta_min", "beta_max"),
    "vp_cosine": ("lmbda_min",),
    "edm": ("sigma_min", "sigma_max"),
    "rectified_flow": (),
    "pfgmpp": ("dof", "sigma_min", "sigma_max"),
}


class ProcessSection(Section):
    """The noising process; parameters that are left out take the process's own defaults."""

    type: Annotated[str, named("process", but=("vp_table",))] = Field(
        default="vp_cosine",
        description="variance preserving (linear, cosine), EDM, rectified flow, PFGM++ (Student-t noise)",
    )
    beta_min: float | None = Field(default=None, gt=0, description="vp_linear")
    beta_max: float | None = Field(default=None, gt=0, description="vp_linear")
    lmbda_min: float | None = Field(default=None, description="vp_cosine: log-SNR at the noisy end")
    sigma_min: float | None = Field(default=None, gt=0, description="edm, pfgmpp")
    sigma_max: float | None = Field(default=None, gt=0, description="edm, pfgmpp")
    dof: float | None = Field(
        default=None, gt=0, description="pfgmpp: extra dimensions, the paper's D (process.D will do)"
    )

    @model_validator(mode="before")
    @classmethod
    def _named_as_in_the_paper(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "D" not in given:
            return given
        rest = {name: value for name, value in given.items() if name != "D"}
        if rest.get("dof") not in (None, given["D"]):
            raise ValueError(f"D and dof are one parameter, got D={given['D']} and dof={rest['dof']}")
        return {**rest, "dof": given["D"]}

    @model_validator(mode="after")
    def _only_its_own(self) -> "ProcessSection":
        foreign = [name for name in self.parameters() if name not in _PARAMETERS.get(self.type, ())]
        if foreign:
            own = ", ".join(_PARAMETERS.get(self.type, ())) or "none"
            raise ValueError(f"{', '.join(foreign)} is no parameter of {self.type}; its parameters: {own}")
        return self

    def parameters(self) -> dict[str, float]:
        """The parameters that were given."""
        return {k: v for k, v in self.model_dump(exclude={"type"}).items() if v is not None}
