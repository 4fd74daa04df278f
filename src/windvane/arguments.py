"""What callers give for numbers, switches, rows and sizes, checked where it is given.

Numbers of any library count as such where their meaning is plain (``np.float32(2)``, a tensor of one number);
``True``, text, ``nan`` and classes do not. Every refusal is one line that says what was given and what would
work.
"""

import math
import operator
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NOT_REAL = (torch.bool, torch.complex32, torch.complex64, torch.complex128)


def shown(value: object) -> str:
    """A value for a message: one line, at most 60 characters."""
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim:
        return f"a {type(value).__name__} of shape {tuple(value.shape)}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def real(
    value: Any,
    what: str,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
    finite: bool = True,
) -> float:
    """A number within its bounds, as a float; an infinite one only where ``finite`` is false.

    Raises:
        ValueError: anything else, with the bounds.
    """
    number = _number(value)
    low = number is not None and number >= least and (number > above or above == -math.inf)
    high = number is not None and number <= most and (number < below or below == math.inf)
    if number is None or not (low and high) or (finite and math.isinf(number)):
        bounds = {">=": least, ">": above, "<=": most, "<": below}
        said = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound))
        kind = "a finite number" if finite and not said else "a number"
        raise ValueError(f"{what} must be {kind}{said and f' {said}'}, got {shown(value)}")
    return number


def whole(value: Any, what: str, *, least: int | None = None, most: int | None = None) -> int:
    """An integer of any library within its bounds, as an int.

    Raises:
        ValueError: anything else, with the bounds.
    """
    number = integer(value)
    if number is None or (least is not None and number < least) or (most is not None and number > most):
        bounds = {">=": least, "<=": most}
        said = " and ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)
        raise ValueError(f"{what} must be an integer{said and f' {said}'}, got {shown(value)}")
    return number


def integer(value: object) -> int | None:
    """A Python int for an integer of any library that stands alone; None for anything else."""
    if isinstance(value, (bool, np.bool_)) or isinstance(value, Tensor) and value.dtype == torch.bool:
        return None
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim:
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def flag(value: Any, what: str) -> bool:
    """True or False.

    Raises:
        ValueError: anything else.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{what} must be True or False, got {shown(value)}")
    return bool(value)


def one_of(value: Any, what: str, choices: Collection[Any]) -> Any:
    """One of the choices: names, or a few integers.

    Raises:
        ValueError: anything else, with the choices.
    """
    number = integer(value)
    for choice in choices:
        if type(choice) is int and number == choice or isinstance(value, str) and value == choice:
            return choice
    raise ValueError(f"{what} must be one of {', '.join(map(repr, choices))}, got {shown(value)}")


def sizes(value: Any, what: str) -> tuple[int, ...]:
    """The shape of one sample: a row of integers of at least 1.

    Raises:
        ValueError: anything else.
    """
    row = None
    if not isinstance(value, (str, bytes, dict, set, type)) and hasattr(value, "__iter__"):
        one = not isinstance(value, (Tensor, np.ndarray)) or value.ndim == 1
        row = [integer(size) for size in value] if one else None
    if row is None or any(size is None or size < 1 for size in row):
        raise ValueError(f"{what} must be a row of sizes such as (3, 32, 32), got {shown(value)}")
    return tuple(size for size in row if size is not None)


def numbers(value: Any, what: str, *, finite: bool = True) -> Tensor:
    """Real numbers as a float64 tensor of any shape: a tensor, an array, or nested rows of numbers.

    Raises:
        ValueError: anything else, or numbers that are not finite.
    """
    found = None
    if not isinstance(value, (str, bytes, bool, dict, set, type)):
        try:
            rows = value.detach() if isinstance(value, Tensor) else np.asarray(value)
            real_kind = rows.dtype not in _NOT_REAL if isinstance(rows, Tensor) else rows.dtype.kind in "iuf"
            found = torch.as_tensor(rows).to(torch.float64) if real_kind else None
        except (TypeError, ValueError, RuntimeError, OverflowError):  # rows of several lengths, or no numbers
            found = None
    if found is None:
        raise ValueError(f"{what} must be numbers, got {shown(value)}")
    if finite and not bool(torch.isfinite(found).all()):
        raise ValueError(
            f"{what} must be finite numbers, got {int((~torch.isfinite(found)).sum())} that are not"
        )
    return found


def called(value: Any, what: str, how: str) -> Callable[..., Any]:
    """A function, or an object that can be called, ``how`` it is; no class.

    Raises:
        ValueError: anything else.
    """
    if not callable(value) or isinstance(value, type):
        raise ValueError(f"{what} must be a function {how}, got {shown(value)}")
    return value


def location(value: Any, what: str) -> Path:
    """The path of a file or folder.

    Raises:
        ValueError: anything but text that is not empty, or a path.
    """
    if not isinstance(value, (str, os.PathLike)) or isinstance(value, str) and not value.strip():
        raise ValueError(f"{what} must be a path, got {shown(value)}")
    return Path(value)


def settle(owner: object, **values: object) -> None:
    """Set fields of a frozen dataclass to what they were checked to be."""
    for name, value in values.items():
        object.__setattr__(owner, name, value)


def _number(value: Any) -> float | None:
    if isinstance(value, (bool, np.bool_, str, bytes, complex, type)):
        return None
    if isinstance(value, Tensor) and (value.ndim or value.dtype in _NOT_REAL):
        return None
    if isinstance(value, np.ndarray) and (value.ndim or value.dtype.kind not in "iuf"):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None
    return None if math.isnan(number) else number


def attributes(of: object, *names: str) -> dict[str, Any]:
    """Attributes of an object by name: settings that are noted as they are."""
    return {name: getattr(of, name) for name in names}
