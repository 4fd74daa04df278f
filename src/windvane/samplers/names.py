"""Samplers by name, and whatever plainly stands for one."""

from typing import Any

from windvane.registry import find, known_names
from windvane.samplers.adopted import AdoptedSampler
from windvane.samplers.base import Sampler


def as_sampler(value: Any) -> Sampler:
    """A sampler as it is; one by its registered name; a class of samplers with its usual settings.

    Raises:
        ValueError: anything else, with what to give instead.
    """
    if isinstance(value, str):
        return find("sampler", value.lower()).make()
    if isinstance(value, type):
        if not hasattr(value, "step"):
            raise ValueError(
                f"sampler= takes a sampler such as windvane.DDIM(), got the class {value.__name__}"
            )
        try:
            return as_sampler(value())
        except TypeError as error:
            raise ValueError(f"{value.__name__} has settings to choose: {error}; pass an instance") from None
    if isinstance(value, Sampler):
        return value
    if all(hasattr(value, name) for name in ("stochastic", "init", "step")):
        return AdoptedSampler(value)
    name = type(value).__name__
    if callable(getattr(value, "sampler", None)):
        raise ValueError(
            f"a {name} guides a sampler and is none: pass sampler=guidance.sampler(windvane.DDIM())"
        )
    known = ", ".join(known_names("sampler"))
    raise ValueError(f"sampler= takes a sampler such as windvane.DDIM() or its name ({known}), got {name}")
