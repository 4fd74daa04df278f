"""Condition dropout: one draw per sample decides for all of its signals together, or one for each signal."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from windvane.conditions import Condition, for_networks
from windvane.networks.signals import signal_class
from windvane.randomness import generator

#: The name under which a mapping of probabilities has that of losing all signals together.
ALL = "*"
_STREAM_SIGNALS = (1 << 41) + 4

Dropout = float | Mapping[str, float]


def check_dropout(dropout: Dropout) -> None:
    """Refuse a probability outside [0, 1]."""
    for name, probability in (dropout if isinstance(dropout, Mapping) else {ALL: dropout}).items():
        if not 0 <= probability <= 1:
            of = "" if name == ALL else f" of {name}"
            raise ValueError(f"condition dropout{of} must lie in [0, 1], got {probability}; 0.1 is usual")


def draw_drops(n: int, dropout: Dropout, generator: torch.Generator) -> Tensor:
    """Which of ``n`` rows lose their whole condition, bool ``(n,)``: Bernoulli(probability), independent.

    Always takes n numbers from ``generator``, so that runs with other probabilities see the same draws.
    """
    probability = dropout.get(ALL, 0.0) if isinstance(dropout, Mapping) else dropout
    return torch.rand(n, generator=generator, dtype=torch.float64) < probability


def drop_condition(cond: Condition | None, drops: Tensor) -> Condition | None:
    """``cond`` with every signal absent in the rows marked in ``drops`` ``(B,)``.

    One decision per sample, not per signal: the unconditional denoiser of guidance sees no signal at all
    (Hu et al. 2023 drop vector and map together, p = 0.1).
    """
    return None if cond is None else cond.drop(drops)


def drop_signals(
    cond: Condition, dropout: Mapping[str, float], *, seed: int, step: int, size: int, rows: slice
) -> Condition:
    """The condition of ``rows`` of a batch of ``size``, each signal absent where a draw of its own says so.

    A signal that ``dropout`` does not name has the probability of its class; what is no signal of networks
    stays. Draws are keyed by the name, so that they do not depend on which other signals there are.

    Raises:
        ValueError: a probability of a signal that the condition has not.
    """
    unknown = sorted(dropout.keys() - {ALL, *cond.signals})
    if unknown:
        had = ", ".join(cond.signals)
        raise ValueError(f"condition dropout names {', '.join(unknown)}, but the condition has {had}")
    for name in cond.signals:
        own = signal_class(name).dropout if for_networks(name) else 0.0
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
        drawn = torch.rand(size, generator=generator(seed, _STREAM_SIGNALS, step, key), dtype=torch.float64)
        cond = cond.drop((drawn < dropout.get(name, own))[rows], [name])
    return cond
