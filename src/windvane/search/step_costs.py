"""What the steps of a chain cost, known from the steps made or, before, from a rehearsal of the solver."""

from dataclasses import dataclass

import torch
from torch import Tensor

from windvane.current_step import at_step
from windvane.evaluations import EvaluationLimit, evaluations_left
from windvane.process import Process
from windvane.samplers import Sampler, WrappedSampler


@dataclass
class Rehearsal:
    """A denoiser that answers 0 and counts how often it is asked."""

    process: Process
    calls: int = 0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return torch.zeros_like(x)


def rehearsed(sampler: Sampler, process: Process, times: Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    """How often a solver asks its denoiser in each step, found without a network.

    The solver runs over one row of zeros. Of a guided sampler the one inside is asked: what guidance adds
    shows in the steps made.
    """
    while isinstance(sampler, WrappedSampler):
        sampler = sampler.sampler
    denoise, calls = Rehearsal(process), []
    x = torch.zeros(1, *shape)
    with torch.no_grad():
        state = sampler.init(x, times)
        for k in range(len(times) - 1):
            before = denoise.calls
            noise = torch.zeros_like(x) if sampler.stochastic else None
            with at_step(k, len(times) - 1):
                x, state = sampler.step(denoise, x, times[k], times[k + 1], state, noise)
            calls.append(denoise.calls - before)
    return tuple(calls)


def require_left(rows: float) -> None:
    """Refuse to go on where the network rows to come exceed what is left: before they are half made."""
    left = evaluations_left()
    if rows > left + 1e-6:
        raise EvaluationLimit(f"the steps to come need {rows:g} network rows, and {left:g} are left")
