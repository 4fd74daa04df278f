"""Weights that know the step: the solver's variance, the next time, the grid.

Weights of guidance are schedules in noise level. Some papers' weights also contain the step's own variance
or where it ends; those are written here, still without step indices.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from windvane.process import Process


@dataclass(frozen=True)
class Step:
    """One step of a sampler, from t to s, on a grid.

    Args:
        times: the grid, descending.
        std: (t, s) -> standard deviation of the solver's step between two times.
    """

    process: Process
    t: Tensor
    s: Tensor
    times: tuple[float, ...]
    std: Callable[[Tensor, Tensor], float]

    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """(t, s) of every step of the grid."""
        grid = [torch.tensor(t, dtype=torch.float64) for t in self.times]
        return list(zip(grid[:-1], grid[1:]))


class StepWeight(ABC):
    """A weight that is computed from a :class:`Step`."""

    #: Its factor, of which weights are made larger and smaller; None: it has none.
    scale: float | None = None

    @abstractmethod
    def __call__(self, step: Step) -> float:
        """The weight, one number for the batch."""


@dataclass(frozen=True)
class Variance(StepWeight):
    """scale Sigma_t, the variance of the ancestral step: a state push then is the paper's mean shift."""

    scale: float = 1.0

    def __call__(self, step: Step) -> float:
        return self.scale * step.std(step.t, step.s) ** 2


@dataclass(frozen=True)
class VarianceAndSine(StepWeight):
    """scale (Sigma_t + sine max Sigma sin(pi t)) (EluCD, arXiv 2310.11311, section 3.4).

    max Sigma is the largest variance of the grid's steps down to this one, which is what the authors'
    running maximum finds.
    """

    scale: float = 1.0
    sine: float = 0.3

    def __call__(self, step: Step) -> float:
        here = step.std(step.t, step.s) ** 2
        so_far = [step.std(t, s) ** 2 for t, s in step.pairs() if t >= step.t]
        largest = max([here, *so_far])
        return self.scale * (here + self.sine * largest * math.sin(math.pi * float(step.t)))


@dataclass(frozen=True)
class PerSignal(StepWeight):
    """scale / alpha_s: undoes the alpha_s with which an x0 push with eps kept enters x_s (MPGD)."""

    scale: float = 1.0

    def __call__(self, step: Step) -> float:
        alpha, _, _ = step.process.numbers(float(step.s))
        return self.scale / alpha if alpha > 0 else 0.0


#: TFG's shapes of a weight over the grid, as functions of abar_t / abar_s.
SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "increase": lambda ratio: ratio,
    "decrease": lambda ratio: 1 - ratio,
    "constant": torch.ones_like,
}


@dataclass(frozen=True)
class Shaped(StepWeight):
    """scale h(t, s) / mean h over the grid, times alpha_s / alpha_t if ``carried`` (TFG, 2409.15761).

    h = abar_t / abar_s ("increase"), 1 - abar_t / abar_s ("decrease") or 1 ("constant"), with
    abar = alpha^2 / (alpha^2 + sigma^2), which is alpha^2 where the process is variance preserving.
    """

    scale: float
    shape: str = "increase"
    carried: bool = False

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"unknown shape {self.shape!r} of a weight; known: {', '.join(SHAPES)}")

    def __call__(self, step: Step) -> float:
        here, ratio = step.process.remembered(
            (Shaped, self.shape, self.carried, step.times, float(step.t), float(step.s)),
            lambda: self._parts(step),
        )
        return self.scale * here * ratio

    def _parts(self, step: Step) -> tuple[float, float]:
        """h over its mean, and alpha_s / alpha_t or 1."""
        if float(step.process.alpha(step.t)) == 0:
            return 0.0, 1.0  # no guide acts there, and there is no weight to give

        def h(t: Tensor, s: Tensor) -> Tensor:
            signal, noise = step.process.alpha(torch.stack([t, s])), step.process.sigma(torch.stack([t, s]))
            here, there = signal**2 / (signal**2 + noise**2)
            return SHAPES[self.shape](here / there)

        grid = torch.tensor(step.times, dtype=torch.float64)
        here = float(h(step.t, step.s) / h(grid[:-1], grid[1:]).mean())
        ratio = float(step.process.alpha(step.s) / step.process.alpha(step.t)) if self.carried else 1.0
        return here, ratio
