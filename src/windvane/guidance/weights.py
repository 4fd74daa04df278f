"""Guidance weights as schedules in noise level.

A schedule maps the noise level k = sigma / alpha, float64 ``(B,)``, to a weight ``(B,)``. Because it does
not know step indices, changing the number of steps does not change the method.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Schedule = Callable[[Tensor], Tensor]


def as_schedule(weight: float | Schedule) -> Schedule:
    """A number becomes the constant schedule; a schedule is returned as it is."""
    if callable(weight):
        return weight
    return constant(float(weight))


def constant(weight: float) -> Schedule:
    """The same weight at every noise level."""
    if not math.isfinite(weight):
        raise ValueError(f"a guidance weight must be finite, got {weight}")

    def schedule(level: Tensor) -> Tensor:
        return torch.full_like(level, weight)

    return schedule


def interval(weight: float | Schedule, low: float, high: float, *, outside: float = 1.0) -> Schedule:
    """``weight`` where low < sigma / alpha <= high, ``outside`` elsewhere.

    Kynkaanniemi et al. 2024, arXiv 2404.07724, who write the interval in EDM's sigma; ``outside`` = 1 is
    the plain conditional model for contrast guidance.
    """
    if not 0 <= low < high:
        raise ValueError(f"a guidance interval needs 0 <= low < high, got low={low}, high={high}")
    inner = as_schedule(weight)

    def schedule(level: Tensor) -> Tensor:
        inside = (level > low) & (level <= high)
        return torch.where(inside, inner(level), torch.full_like(level, outside))

    return schedule
