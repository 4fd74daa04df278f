"""Resampling of weighted particles, and how many of them count."""

from collections.abc import Callable

import torch
from torch import Tensor

from windvane.randomness import generator


def effective_size(log_weights: Tensor) -> Tensor:
    """1 / sum w^2 of the normalised weights, along the last dimension."""
    return 1 / log_weights.softmax(dim=-1).square().sum(-1)


def systematic(log_weights: Tensor, uniform: float, count: int | None = None) -> Tensor:
    """Systematic resampling: the ancestors of ``count`` particles, by default P, from one uniform number.

    Particle i is taken floor(count w_i) or ceil(count w_i) times, count w_i in the mean.
    """
    count = len(log_weights) if count is None else count
    return ancestors(log_weights, (torch.arange(count, dtype=torch.float64) + uniform) / count)


def multinomial(log_weights: Tensor, seed: int) -> Tensor:
    """Multinomial resampling: P independent draws. Particle i is taken P w_i times in the mean, at random."""
    return ancestors(
        log_weights, torch.rand(len(log_weights), dtype=torch.float64, generator=generator(seed))
    )


RESAMPLING: dict[str, Callable[[Tensor, int], Tensor]] = {
    "systematic": lambda log_weights, seed: systematic(log_weights, seed / 2**63),
    "multinomial": multinomial,
}


def ancestors(log_weights: Tensor, points: Tensor) -> Tensor:
    """Whose share of [0, 1) each point lies in."""
    edges = log_weights.softmax(dim=0).cumsum(0)
    return torch.searchsorted(edges, points).clamp(max=len(log_weights) - 1)
