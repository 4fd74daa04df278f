"""Pydantic's errors as one line with the full path of each setting."""

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from windvane.cli.common.suggestions import suggestion

MOST_SHOWN = 3


def explain_validation(error: ValidationError, root: type[BaseModel]) -> str:
    """`unknown setting train.lr; did you mean ...` or `train.steps: must be ..., got 0`."""
    problems: dict[str, str] = {}
    for item in error.errors(include_url=False):
        path, owner = _locate(item["loc"], root)
        problems.setdefault(path, _sentence(path, owner, dict(item)))
    shown = list(problems.values())
    more = f" (and {len(shown) - MOST_SHOWN} more)" if len(shown) > MOST_SHOWN else ""
    return " | ".join(shown[:MOST_SHOWN]) + more


def _sentence(path: str, owner: type[BaseModel] | None, item: dict[str, Any]) -> str:
    kind, given = item["type"], item["input"]
    if kind == "extra_forbidden":
        valid = list(owner.model_fields) if owner else []
        return f"unknown setting {path}{suggestion(path.rpartition('.')[2], valid)}"
    if kind in ("model_type", "model_attributes_type"):
        names = ", ".join(owner.model_fields) if owner else ""
        return f"{path} is a section with the names {names}; got {given!r:.120}"
    message = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if kind == "missing":
        return f"{path} is missing, got {given!r:.120}"
    if kind == "value_error":
        return f"{path}: {message}"
    return f"{path} {message}, got {given!r:.120}"


def _locate(location: tuple[int | str, ...], root: type[BaseModel]) -> tuple[str, type[BaseModel] | None]:
    """The dotted path of a setting, and the section that holds it (or that it is).

    Pydantic appends the tried alternative of a union to the location; whatever follows a plain setting and
    is not a position in a list is left out.
    """
    owner: type[BaseModel] | None = root
    parts: list[str] = []
    inside_section = True
    for step in location:
        if not inside_section:
            if isinstance(step, int):
                parts.append(str(step))
            continue
        parts.append(str(step))
        field = owner.model_fields.get(str(step)) if owner else None
        section = _section_of(field.annotation) if field else None
        if section is None:
            inside_section = False
        else:
            owner = section
    return ".".join(parts), owner


def _section_of(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
