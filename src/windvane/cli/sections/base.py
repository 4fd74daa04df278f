"""What all sections share: unknown keys are refused, and every value has a one-line description."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the configuration; immutable, with defaults checked like given values."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, protected_namespaces=()
    )
