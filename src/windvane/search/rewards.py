"""Rewards: what a search maximises. One interface for energies, functions of images, and several at once."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.energies import Energy

Reward = Energy | Callable[[Tensor], Tensor]


class RewardError(ValueError):
    """A reward that raised, or gave something else than one finite number per sample."""


class Verifier:
    """One or several rewards, called on finished samples or on predictions of them.

    Each is given a copy of its own, which it may change in place.

    Args:
        rewards: each an :class:`~windvane.energies.Energy`, called at t = 0 with the condition's rows, or a
            function ``(B, *) -> (B,)``. Larger is better.
        batch_size: rows at a time; None for all.
    """

    def __init__(self, rewards: Sequence[Reward], *, batch_size: int | None = None) -> None:
        if not rewards or not all(callable(reward) for reward in rewards):
            raise ValueError(
                f"a search needs a reward: an energy or a function of images (B, *) -> (B,), got {rewards!r}"
            )
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.rewards = tuple(rewards)
        self.names = tuple(_name(reward) for reward in rewards)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self.rewards)

    def scores(self, x: Tensor, cond: Condition | None = None) -> Tensor:
        """Every reward of every row, float64 ``(B, K)`` on the CPU.

        Raises:
            RewardError: names the reward and what it did.
        """
        size = self.batch_size or max(len(x), 1)
        parts = []
        for first in range(0, len(x), size):
            rows = slice(first, first + size)
            part = None if cond is None else cond.index(rows)
            parts.append(torch.stack([self._one(k, x[rows], part) for k in range(len(self))], dim=1))
        return torch.cat(parts) if parts else torch.empty(0, len(self), dtype=torch.float64)

    def _one(self, number: int, x: Tensor, cond: Condition | None) -> Tensor:
        reward, name = self.rewards[number], self.names[number]
        # A copy: a reward may change its images in place, and a search goes on from the ones it gave.
        own = x.clone()
        try:
            found = reward(own, None, cond) if isinstance(reward, Energy) else reward(own)
        except Exception as error:
            raise RewardError(
                f"the reward {name!r} raised {type(error).__name__}: {error} (on a batch of shape "
                f"{tuple(x.shape)})"
            ) from error
        if not isinstance(found, Tensor) or found.shape != (len(x),):
            received = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise RewardError(
                f"the reward {name!r} must give a tensor with one value per sample, shape ({len(x)},), got "
                f"{received} for samples of shape {tuple(x.shape)}"
            )
        values = found.detach().to("cpu", torch.float64)
        finite = torch.isfinite(values)
        if not bool(finite.all()):
            bad = (~finite).nonzero().flatten()
            raise RewardError(
                f"the reward {name!r} is {float(values[bad[0]])} in {len(bad)} of {len(x)} rows (first: row "
                f"{int(bad[0])}); bound it, for example with torch.nan_to_num or clamp"
            )
        return values

    def rank(self, scores: Tensor) -> Tensor:
        """What candidates are chosen by, ``(n, m)``, from scores ``(n, m, K)`` of m candidates each.

        One reward: its value. Several: the unweighted mean over rewards of the rank among the m candidates,
        1 for the worst, equal values sharing the mean of their ranks (Ma et al. 2025, arXiv 2501.09732).
        """
        return scores[..., 0] if len(self) == 1 else ranks(scores.transpose(1, 2)).mean(1)

    def single(self, what: str) -> None:
        """Refuse several rewards where a value of each sample alone is needed."""
        if len(self) != 1:
            raise ValueError(
                f"{what} needs the value of a sample by itself; ranks exist among candidates only. Give one "
                "reward, for example a weighted sum of energies"
            )


class MeanRank(Verifier):
    """Several rewards combined by their mean rank among the candidates: scales need not agree."""

    def __init__(self, rewards: Sequence[Reward], *, batch_size: int | None = None) -> None:
        if len(rewards) < 2:
            raise ValueError(f"a mean rank needs at least two rewards, got {len(rewards)}")
        super().__init__(rewards, batch_size=batch_size)


def as_verifier(reward: Reward | Verifier) -> Verifier:
    """The verifier itself, or one of a single reward."""
    if isinstance(reward, Verifier):
        return reward
    if isinstance(reward, (list, tuple)):
        raise ValueError(f"several rewards must say how they combine: MeanRank({list(reward)!r})")
    return Verifier([reward])


def ranks(values: Tensor) -> Tensor:
    """Ranks along the last dimension, float64, 1 for the smallest; equal values share their mean rank."""
    values = values.contiguous()
    ordered = values.sort(dim=-1).values.contiguous()
    below = torch.searchsorted(ordered, values, side="left")
    upto = torch.searchsorted(ordered, values, side="right")
    return (below + upto + 1).double() / 2


def _name(reward: Any) -> str:
    named = getattr(reward, "name", None) or getattr(reward, "__name__", None)
    return str(named or type(reward).__name__)
