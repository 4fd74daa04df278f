"""The rollouts of a tree: batches of paths from nodes at different depths down to finished samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from windvane.randomness import derive_seed
from windvane.samplers import Sampler
from windvane.search.chain import Chain
from windvane.search.nodes import Nodes
from windvane.search.proposals import propose
from windvane.search.states import States

_STREAM_NODE = 1 << 48


@dataclass(frozen=True)
class Made:
    """New nodes, rollout after rollout, each from its first level to its leaf.

    Args:
        rows: their states ``(m, *)``, as they will be stored.
        leaves: the finished samples ``(B, *)`` on the chain's device, one for each rollout.
        log_ratios: for each rollout the log-ratio of each of its nodes.
    """

    rows: Tensor
    leaves: Tensor
    log_ratios: list[list[float]]


@dataclass(frozen=True)
class Rollouts:
    """Runs batches of rollouts level by level: deeper ones join when the others have come to their level.

    All rows of a call share its time, and a rollout costs the steps that are left to it, no more.
    """

    chain: Chain
    levels: tuple[int, ...]
    seed: int
    precision: torch.dtype
    proposal: Sampler | None
    corrected: bool

    def run(self, starts: Sequence[int], nodes: Nodes, states: States) -> Made:
        """One rollout from each node of ``starts``; the new nodes get the numbers after the last one."""
        depths = [int(nodes.depth[node]) for node in starts]
        lengths = [len(self.levels) - 1 - depth for depth in depths]
        first = [len(nodes) + sum(lengths[:i]) for i in range(len(starts))]
        of_rollout: list[list[Tensor]] = [[] for _ in starts]
        ratios: list[list[float]] = [[] for _ in starts]
        x = torch.empty(0, *self.chain.shape, dtype=self.chain.dtype, device=self.chain.device)
        active: list[int] = []
        for depth in range(len(self.levels) - 1):
            joining = [i for i, d in enumerate(depths) if d == depth]
            active += joining
            if not active:
                continue
            keys = [derive_seed(self.seed, _STREAM_NODE, first[i] + depth - depths[i]) for i in active]
            if joining:
                x = torch.cat([x, self._begin(depth, [starts[i] for i in joining], keys, states)])
            x, ratio = self._segment(x, keys, depth)
            stored = x.cpu().to(self.precision)
            # The path goes on from what is stored, so that a child drawn later has the same parent.
            x = stored.to(x)
            for row, i in enumerate(active):
                of_rollout[i].append(stored[row])
                ratios[i].append(float(ratio[row]))
        order = torch.tensor([active.index(i) for i in range(len(starts))], dtype=torch.int64)
        empty = torch.empty(0, *self.chain.shape, dtype=self.precision)
        rows = [row for rollout in of_rollout for row in rollout]
        return Made(torch.stack(rows) if rows else empty, x[order.to(x.device)], ratios)

    def _begin(self, depth: int, starts: list[int], keys: list[int], states: States) -> Tensor:
        if depth == 0:
            return self.chain.start(self.chain.noise(keys))
        return states.get([node - 1 for node in starts]).to(self.chain.device, self.chain.dtype)

    def _segment(self, x: Tensor, keys: list[int], depth: int) -> tuple[Tensor, Tensor]:
        here, there = self.levels[depth : depth + 2]
        if self.proposal is not None and there > here:
            return propose(
                self.chain, self.proposal, x, keys, first=here, last=there, corrected=self.corrected
            )
        x = self.chain.run(x, keys, first=here, last=there, until=self.chain.steps)
        return x, torch.zeros(len(x), dtype=torch.float64)


def default_levels(steps: int, count: int = 4) -> list[int]:
    """Up to ``count`` steps to branch at, even over the chain."""
    return sorted({round(steps * (k + 1) / (count + 1)) for k in range(count)} - {0, steps})


def check_levels(branch_at: Sequence[int], steps: int) -> tuple[int, ...]:
    """The step of every depth: 0 for the root, the branching steps, and the last."""
    inner = [int(step) for step in branch_at]
    if inner != sorted(set(inner)) or (inner and not 0 <= inner[0] <= inner[-1] < steps):
        raise ValueError(
            f"branch_at takes increasing steps from 0 to {steps - 1} of a chain of {steps}, got {inner}"
        )
    return (0, *inner, steps)
