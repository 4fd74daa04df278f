"""What all sections share: unknown keys are refused, and every value has a one-line description."""

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from windvane.registry import known_names

#: Whole numbers below this fit the counters and the seeds of everything below.
LIMIT = 2**63


def named(kind: str, *, but: tuple[str, ...] = ()) -> BeforeValidator:
    """Checks that a setting is a registered name of a kind, of this library or another package.

    Args:
        but: names that no setting can have, as they need more than settings.
    """

    def check(value: Any) -> Any:
        known = [name for name in known_names(kind) if name not in but]
        if not isinstance(value, str) or value not in known:
            *first, last = (repr(name) for name in known)
            names = f"{', '.join(first)} or {last}" if first else last
            raise PydanticCustomError("registered", f"Input should be {names}")
        return value

    return BeforeValidator(check)


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
