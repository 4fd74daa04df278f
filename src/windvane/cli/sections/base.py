"""What all sections share: unknown keys are refused, and every value has a one-line description."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

#: Whole numbers below this fit the counters and the seeds of everything below.
LIMIT = 2**63


class Section(BaseModel):
    """A part of the configuration; immutable, with defaults checked like given values."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, protected_namespaces=()
    )

    @field_validator("*")
    @classmethod
    def _countable(cls, value: Any, info: ValidationInfo) -> Any:
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(one, int) and not -LIMIT <= one < LIMIT for one in numbers):
            raise ValueError(f"whole numbers are below 2**63, got {value!r:.60}")
        return value
