"""Guidance weights as schedules in noise level.

A schedule maps the noise level k = sigma / alpha, float64 ``(B,)``, to a weight ``(B,)``. Because it does
not know step indices, changing the number of steps does not change the method.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from windvane.arguments import real

Schedule = Callable[[Tensor], Tensor]


def as_schedule(weight: float | Schedule) -> Schedule:
    """A number becomes the constant schedule; a schedule is returned as it is."""
    if callable(weight) and not isinstance(weight, type) and not hasattr(weight, "process"):
        return weight
    return constant(real(weight, "a guidance weight, unless it is a schedule in noise level,"))


def scheduled(weight: float | Schedule, level: Tensor, what: str) -> Tensor:
    """The values of a schedule ``(B,)`` for the noise levels ``(B,)``; ``what`` they are, for messages.

    Raises:
        ValueError: anything but as many values.
    """
    values = as_schedule(weight)(level)
    if not isinstance(values, Tensor) or values.shape != level.shape:
        received = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(
            f"{what} is a schedule, which gives a tensor with one value per noise level, shape "
            f"{tuple(level.shape)}, got {received}"
        )
    return values


def constant(weight: float) -> Schedule:
    """The same weight at every noise level."""
    return Constant(weight)


class Elementwise(ABC):
    """A schedule whose weight of a row depends on the row's noise level alone, and on no state: hashable.

    Rows that share a time then share a weight, which is computed once for all of them.
    """

    @abstractmethod
    def __call__(self, level: Tensor) -> Tensor:
        """The weights of the noise levels, in their shape."""


@dataclass(frozen=True)
class Constant(Elementwise):
    """The schedule that :func:`constant` makes: known to be one number without being asked."""

    weight: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise ValueError(f"a guidance weight must be finite, got {self.weight}")

    def __call__(self, level: Tensor) -> Tensor:
        return torch.full_like(level, self.weight)


def interval(weight: float | Schedule, low: float, high: float, *, outside: float = 1.0) -> Schedule:
    """``weight`` where low < sigma / alpha <= high, ``outside`` elsewhere.

    Kynkaanniemi et al. 2024, arXiv 2404.07724, who write the interval in EDM's sigma; ``outside`` = 1 is
    the plain conditional model for contrast guidance.
    """
    low = real(low, "low of a guidance interval", least=0)
    high = real(high, "high of a guidance interval", above=low, finite=False)
    outside = real(outside, "outside of a guidance interval")
    inner = as_schedule(weight)

    def schedule(level: Tensor) -> Tensor:
        inside = (level > low) & (level <= high)
        return torch.where(inside, inner(level), torch.full_like(level, outside))

    return schedule
