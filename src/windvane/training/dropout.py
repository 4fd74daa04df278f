"""Condition dropout: one draw per sample decides for all of its signals together."""

import torch
from torch import Tensor

from windvane.conditions import Condition


def check_dropout(probability: float) -> None:
    """Refuse a probability outside [0, 1]."""
    if not 0 <= probability <= 1:
        raise ValueError(f"condition dropout must lie in [0, 1], got {probability}; 0.1 is usual")


def draw_drops(n: int, probability: float, generator: torch.Generator) -> Tensor:
    """Which of ``n`` rows lose their condition, bool ``(n,)``: Bernoulli(probability), independent.

    Always takes n numbers from ``generator``, so that runs with other probabilities see the same draws.
    """
    return torch.rand(n, generator=generator, dtype=torch.float64) < probability


def drop_condition(cond: Condition | None, drops: Tensor) -> Condition | None:
    """``cond`` with every signal absent in the rows marked in ``drops`` ``(B,)``.

    One decision per sample, not per signal: the unconditional denoiser of guidance sees no signal at all
    (Hu et al. 2023 drop vector and map together, p = 0.1).
    """
    return None if cond is None else cond.drop(drops)
