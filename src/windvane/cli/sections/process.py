"""Section `process`: how noise is added."""

from typing import Literal

from pydantic import Field

from windvane.cli.sections.base import Section


class ProcessSection(Section):
    """The noising process; parameters that are left out take the process's own defaults."""

    type: Literal["vp-linear", "vp-cosine", "edm", "flow"] = Field(
        default="vp-cosine", description="variance-preserving (linear or cosine), EDM, or rectified flow"
    )
    beta_min: float | None = Field(default=None, gt=0, description="vp-linear")
    beta_max: float | None = Field(default=None, gt=0, description="vp-linear")
    lmbda_min: float | None = Field(default=None, description="vp-cosine: log-SNR at the noisy end")
    sigma_min: float | None = Field(default=None, gt=0, description="edm")
    sigma_max: float | None = Field(default=None, gt=0, description="edm")
