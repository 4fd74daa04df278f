"""Several sweeps of particles as one law: every sweep counts by its own estimate of Z."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from windvane.randomness import derive_seed
from windvane.search.resampling import systematic
from windvane.search.search_loop import Found


def together(
    before: Mapping[str, Tensor], made: Mapping[str, Tensor], *, keep: int, seeds: Sequence[int]
) -> dict[str, Tensor]:
    """The memory of all sweeps so far and of one more, as :class:`FeynmanKac` describes it.

    A particle of sweep s with the normalised weight w has w Z_s / sum_s Z_s, with Z_s that sweep's estimate:
    since E[Z_s sum_i w_i f(x_i)] = E[exp(lam r(x)) f(x)], the mean over sweeps of these sums is unbiased too,
    and a sweep that came to little hardly counts. Of more than ``keep`` particles so many are drawn
    systematically, which keeps all expectations; they then have even weights.

    Args:
        before, made: ``particles``, ``log_weights`` and ``log_z`` of n systems.
        seeds: one for each system.
    """
    parts = [m["log_weights"] + m["log_z"].logsumexp(1, keepdim=True) for m in (before, made)]
    log_weights = torch.cat(parts, dim=1).log_softmax(dim=1)
    particles = torch.cat([before["particles"], made["particles"]], dim=1)
    if log_weights.shape[1] > keep:
        kept = torch.stack([systematic(row, seed / 2**63, keep) for row, seed in zip(log_weights, seeds)])
        particles = particles[torch.arange(len(particles))[:, None], kept]
        log_weights = torch.full(kept.shape, -math.log(keep), dtype=log_weights.dtype)
    log_z = torch.cat([before["log_z"], made["log_z"]], dim=1)
    return {"particles": particles, "log_weights": log_weights, "log_z": log_z}


def log_z(found: Found) -> Tensor:
    """log of the mean over the sweeps of the estimates of Z = E exp(lam r(x)), ``(n,)``."""
    estimates = found.memory["log_z"]
    return estimates.logsumexp(1) - math.log(estimates.shape[1])


def resampled(found: Found, m: int, *, seed: int = 0) -> Tensor:
    """``m`` draws from the weighted particles of each search, ``(n, m, *)``."""
    particles, log_weights = found.memory["particles"], found.memory["log_weights"]
    drawn = [systematic(weights, derive_seed(seed, i) / 2**63, m) for i, weights in enumerate(log_weights)]
    return torch.stack([row[of] for row, of in zip(particles, drawn)])
