"""Diffusion tree sampling and search: every rollout stays in a tree, whose values steer the next ones."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from windvane.progress import track
from windvane.randomness import derive_seed
from windvane.samplers import Sampler
from windvane.search import tree_files
from windvane.search.budget import Budget, Meter, Spent
from windvane.search.chain import Chain
from windvane.search.expansion import Idle, grow_once
from windvane.search.nodes import ROOT, Nodes, pick
from windvane.search.proposals import check_proposal
from windvane.search.rewards import Reward, Verifier, as_verifier
from windvane.search.rollouts import Rollouts, check_levels, default_levels
from windvane.search.selection import Selection
from windvane.search.states import States
from windvane.search.tree_parts import Log, Open, Place

_STREAM_SAMPLE = (1 << 47) + 1


class DiffusionTree:
    """A tree of denoising paths for p(x) exp(lam r(x)): DTS, and DTS* with ``star`` (Jain et al. 2025).

    "Diffusion Tree Sampling", arXiv 2506.20701. A node is a state at one of the levels ``branch_at``; the
    root stands before all noise. A rollout descends from the root while nodes have C N^alpha children or
    more (N visits), by softmax(lam v), with ``star`` by argmax v + c_uct sqrt(log N / N_child); draws a new
    child by the chain's transitions and goes on to a finished sample, every level on the way becoming a
    node; and backs up v = (1 / lam) log mean over children of exp(lam v_child), at a leaf v = r. The values
    estimate V(x_t) = (1 / lam) log E[exp(lam r(x)) | x_t], and more growing refines the same estimates.

    Rollouts run in batches, in lockstep with those that start deeper; the visits of a batch count before
    their values are known, so that it spreads. Noise is keyed by the number of the node and choices by the
    number of the rollout: a saved tree that grows on equals one that was never stopped.

    Deviations: visits of leaves count, or UCT would return to one leaf for ever; ``explore`` mixes even
    shares into the choices, against nodes whose first rollout was unlucky; proposals are weighed.

    Args:
        chain: with a stochastic sampler, for one sample (a condition has one row).
        reward: one; it should be bounded, or unlucky nodes are hardly ever chosen again.
        lam: lambda; ``math.inf`` backs up the maximum.
        branch_at: the steps of the chain before which nodes are kept, increasing, from 0 (prior draws as
            nodes) to ``chain.steps - 1``; default four, even.
        widening, exponent: C and alpha. With 2 and 0.8 (the paper's for images) a node widens at every
            visit until it has 32; small budgets want 1 and 0.5.
        proposal: a guided sampler to draw children from, ``dps(energy).sampler(chain.sampler)``.
        corrected: weigh such children by p / q, so that the target stays; the paper leaves them as they are.
        precision: of the stored states; rollouts continue from what is stored.
        folder: keep the states in a file there, not in memory.

    Raises:
        ValueError: a chain without Gaussian transitions, with the reason; settings out of range.
    """

    def __init__(
        self,
        chain: Chain,
        reward: Reward | Verifier,
        *,
        lam: float = 1.0,
        branch_at: Sequence[int] | None = None,
        widening: float = 2.0,
        exponent: float = 0.8,
        star: bool = False,
        c_uct: float = 1.0,
        explore: float = 0.0,
        proposal: Sampler | None = None,
        corrected: bool = True,
        seed: int = 0,
        precision: torch.dtype = torch.float16,
        folder: str | Path | None = None,
    ) -> None:
        if precision not in (torch.float16, torch.float32):
            raise ValueError(f"states are kept in float16 or float32, got {precision}")
        chain.require_transitions("a diffusion tree", memoryless=True)
        chain.check_searches(1)
        if proposal is not None:
            check_proposal(chain, proposal)
        self.verifier = as_verifier(reward)
        self.verifier.single("a diffusion tree")
        self.chain, self.lam, self.star, self.seed = chain, float(lam), star, seed
        self.levels = check_levels(
            default_levels(chain.steps) if branch_at is None else branch_at, chain.steps
        )
        depth = len(self.levels) - 1
        self.selection = Selection(depth, self.lam, widening, exponent, star, c_uct, explore, seed)
        self.rollouts = Rollouts(chain, self.levels, seed, precision, proposal, corrected)
        self.nodes = Nodes()
        self.meter = Meter()
        #: Rollouts made so far, those that came back to a finished sample included.
        self.grown = 0
        self.place = Place()
        path = None if folder is None else self.place.states(Path(folder))
        self.states = States(chain.shape, precision, path=path)
        #: The last batch, where a limit cut it short; the next growth begins with the rest of it.
        self.opened: Open | None = None
        #: What a batch under way has changed.
        self.log: Log | None = None
        #: None, or the nodes whose states are there, where only leaves were saved.
        self.kept: np.ndarray | None = None

    @property
    def spent(self) -> Spent:
        """Network and reward evaluations so far."""
        return self.meter.spent

    def __len__(self) -> int:
        self.settle()
        return len(self.nodes)

    def grow(
        self,
        nfe: int | None = None,
        *,
        rollouts: int | None = None,
        verifications: int | None = None,
        batch: int = 16,
        watch: Callable[["DiffusionTree"], Any] | None = None,
        progress: bool = True,
    ) -> "DiffusionTree":
        """Grow by so many more network evaluations, rollouts or reward evaluations, whichever ends first.

        None of them is exceeded. Where they cut a batch short, the next growth begins with the rest of it,
        chosen as in a whole one: the tree does not depend on the parts in which it was grown, but for
        rounding in the network. The first rollout is made alone, to learn what steps cost.

        A rollout that comes back to a finished sample spends nothing. Where only spending is limited, growth
        ends with a warning after 10,000 such rollouts in a row that are also half of all: ``widening`` and
        ``exponent`` then let the tree branch too seldom.

        Where a reward or the network fails, or the user breaks off at any point, even by a second Ctrl-C, the
        tree is as before the batch, and may be saved or grown on.

        Args:
            batch: rollouts side by side. 1 is the paper's serial algorithm.
            watch: called after every batch; returning True stops.

        Raises:
            RewardError: the reward failed.
        """
        if self.kept is not None:
            raise ValueError("this tree was saved with its leaves only; it can be sampled but not grown")
        if nfe is None and rollouts is None and verifications is None:
            raise ValueError("say how far to grow: nfe=, rollouts= or verifications=")
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        self.settle()
        more, target, asked = (1 << 60 if x is None else x for x in (nfe, rollouts, verifications))
        if min(more, target, asked) < 1:
            return self
        budget = Budget(self.spent.rows + more, self.spent.verified + asked)
        target += self.grown
        idle = Idle(self, rollouts)
        for _ in track(iter(int, 1), "growing", enabled=progress):
            if self.grown >= target or idle.long(self):
                break
            if not grow_once(self, target - self.grown, batch, budget):
                break
            if watch is not None and watch(self):
                break
        return self

    def settle(self) -> None:
        """Take back what a batch left that was broken off; every other method does it by itself."""
        if self.log is not None:
            self.log.take_back()
            self.grown, self.opened = self.log.grown, self.log.opened
            self.log = None

    def log_z(self) -> float:
        """The estimate of log E exp(lam r(x)) at the root."""
        self._leaves()
        return self.lam * float(self.nodes.value[ROOT])

    def distribution(self) -> tuple[Tensor, Tensor]:
        """All finished samples ``(L, *)`` and the probability of each ``(L,)`` in a descent; no network."""
        leaves = self._leaves()
        return self.state_of(leaves), torch.from_numpy(np.exp(self.nodes.log_probabilities(self.lam)[leaves]))

    def sample(self, n: int, *, seed: int = 0) -> Tensor:
        """``n`` samples ``(n, *)`` by descent along softmax(lam v), without the network.

        With ``star`` a descent goes along the largest value, without bonus, so that all are equal. A tree
        holds as many different samples as it has leaves.
        """
        leaves = self._leaves()
        if self.star:
            node = ROOT
            while self.nodes.family(node):
                of = self.nodes.children(node)
                node = int(of[np.argmax(self.nodes.value[of])])
            return self.state_of([node] * n)
        shares = self.nodes.log_probabilities(self.lam)[leaves]
        draws = [derive_seed(self.seed, _STREAM_SAMPLE, seed, k) / 2**63 for k in range(n)]
        return self.state_of(leaves[[pick(shares, uniform, 0.0) for uniform in draws]])

    def best(self, k: int = 1) -> tuple[Tensor, Tensor]:
        """The ``k`` samples of the highest reward ``(k, *)`` and their rewards ``(k,)``, best first."""
        leaves = self._leaves()
        rewards = self.nodes.reward[leaves]
        order = np.argsort(-rewards, kind="stable")[:k]
        return self.state_of(leaves[order]), torch.from_numpy(rewards[order].copy())

    def state_of(self, nodes: Sequence[int] | np.ndarray) -> Tensor:
        """The states of nodes (not of the root) ``(n, *)``, float32 on the CPU."""
        self.settle()
        numbers = np.asarray(nodes, dtype=np.int64)
        if self.kept is not None:
            return self.states.get(np.searchsorted(self.kept, numbers))
        return self.states.get(numbers - 1)

    def _leaves(self) -> np.ndarray:
        self.settle()
        leaves = self.nodes.leaves()
        if not len(leaves):
            raise ValueError("the tree is empty; grow it first")
        return leaves

    def save(self, folder: str | Path, *, leaves_only: bool = False) -> Path:
        """Write the tree; a process killed meanwhile leaves what was there, or this.

        Saved again to the same folder, only new states are written.

        Args:
            leaves_only: without the states in between: enough to sample, not to grow.
        """
        self.settle()
        return tree_files.save(self, Path(folder), leaves_only=leaves_only)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        chain: Chain,
        reward: Reward | Verifier,
        *,
        proposal: Sampler | None = None,
        on_disk: bool = False,
    ) -> "DiffusionTree":
        """The tree that :meth:`save` wrote, to sample or to grow on exactly as if it had never stopped.

        Args:
            chain, reward, proposal: the same as before; what can be compared is.
            on_disk: leave the states in their file.

        Raises:
            ValueError: no tree there, or one of another chain or reward.
        """
        return tree_files.load(cls, Path(folder), chain, reward, proposal=proposal, on_disk=on_disk)
