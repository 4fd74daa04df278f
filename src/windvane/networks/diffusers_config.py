"""The configuration of a diffusers model as plain JSON values."""

from typing import Any


def model_config(model: Any) -> dict[str, Any]:
    """What ``from_config`` of the model's class needs; diffusers' own bookkeeping is left out."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in model.config.items()
        if not key.startswith("_")
    }
