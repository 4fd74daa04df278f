"""One loop for every search in rounds: budgets, counting, watching, stopping and going on."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from windvane.evaluations import EvaluationLimit
from windvane.progress import track
from windvane.randomness import derive_seed
from windvane.search.budget import Budget, Meter, Spent
from windvane.search.chain import Chain
from windvane.search.rewards import Reward, Verifier, as_verifier


@dataclass(frozen=True)
class Moment:
    """A point of a search's history: what was spent, and the mean over searches of the best scores."""

    rows: int
    verified: int
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Found:
    """What n independent searches have found so far; the last one is the result.

    Args:
        x: the best sample of each search ``(n, *)``, on the CPU.
        scores: its scores ``(n, K)``, one column for each reward; float64.
        noise: the starting noise ``(n, *)`` that gives ``x``, where the method chooses a noise.
        seeds: ``(n,)`` the seed of the winner (and of its steps' noise, if the sampler adds any).
        rounds: rounds done; ``memory``: what the method needs to go on, and its by-products.
        done: nothing is left to do, whatever the budget.
    """

    x: Tensor
    scores: Tensor
    spent: Spent = Spent()
    history: tuple[Moment, ...] = ()
    noise: Tensor | None = None
    seeds: Tensor | None = None
    rounds: int = 0
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    done: bool = False

    @property
    def score(self) -> Tensor:
        """The scores ``(n,)`` by the first, or only, reward."""
        return self.scores[:, 0]

    @property
    def nfe(self) -> float:
        """Network evaluations per search."""
        return self.spent.rows / max(len(self.x), 1)


class Job:
    """What a method works with: the chain, the verifier, n searches with their seeds, and the meter."""

    def __init__(
        self, chain: Chain, verifier: Verifier, *, n: int, seed: int, budget: Budget | None, spent: Spent
    ) -> None:
        self.chain, self.verifier, self.n, self.seed, self.budget = chain, verifier, n, seed, budget
        self.meter = Meter(spent)

    def pays(self, rows: float, verified: float) -> bool:
        """Whether the budget still pays for so many network rows and verified samples."""
        return self.budget is None or self.budget.pays(self.meter.spent, rows, verified * len(self.verifier))

    def affordable(self, rows: float, verified: float) -> int:
        """How many items, each of this cost, the budget still pays for."""
        if self.budget is None:
            return 1 << 60
        return self.budget.affordable(self.meter.spent, rows, verified * len(self.verifier))

    def counting(self) -> AbstractContextManager[None]:
        """Around whatever evaluates networks: counted, and within the budget."""
        return self.meter.counting(self.budget)

    def searches(self, each: int) -> Tensor:
        """The number of the search of every row, ``each`` rows for each in turn: 0, 0, ..., 1, 1, ..."""
        return torch.arange(self.n).repeat_interleave(each)

    def keys(self, *streams: int, each: int = 1) -> list[int]:
        """A seed for every row of :meth:`searches`, from the search's seed, the streams and the number."""
        return [derive_seed(self.seed + i, *streams, j) for i in range(self.n) for j in range(each)]

    def sample(self, noise: Tensor, seeds: list[int], rows: Tensor, *, chain: Chain | None = None) -> Tensor:
        """Finished samples on the CPU from starting noises, counted."""
        chain = chain or self.chain
        with self.counting():
            return chain.run(chain.start(noise), seeds, rows=rows).cpu()

    def scores(self, x: Tensor, rows: Tensor) -> Tensor:
        """Scores ``(B, K)``, counted; ``x`` may be on any device."""
        size, parts = self.chain.batch_size, []
        for first in range(0, len(x), size):
            part = slice(first, first + size)
            parts.append(
                self.verifier.scores(x[part].to(self.chain.device), self.chain.condition(rows[part]))
            )
            self.meter.verified(len(parts[-1]) * len(self.verifier))
        return torch.cat(parts)


class Method(Protocol):
    """A search in rounds. All its state between two rounds is in :class:`Found`."""

    def check(self, chain: Chain, verifier: Verifier) -> None:
        """Refuse, with the reason, a chain or verifier that the method cannot work with."""

    def begin(self, job: Job) -> Found:
        """The first round."""

    def advance(self, job: Job, found: Found) -> Found | None:
        """One more round, or None where the budget does not pay for one or nothing is left to do."""

    def finish(self, job: Job, found: Found) -> Found:
        """The result, once: for a last generation with another chain."""


Watch = Callable[[Found], Any]


def run(
    method: Method,
    chain: Chain,
    reward: Reward | Verifier,
    *,
    n: int = 1,
    seed: int = 0,
    budget: Budget | None = None,
    resume: Found | None = None,
    watch: Watch | None = None,
    progress: bool = True,
) -> Found:
    """Run ``n`` independent searches with one method, side by side.

    Search i draws everything from ``seed + i`` and sees no other search. With the same arguments the result
    does not depend on ``batch_size``, nor on where a run was stopped and taken up again.

    Args:
        reward: an energy, a function of images, or a verifier such as :class:`MeanRank`.
        budget: over all n searches, never exceeded. Where guidance asks twice in later steps only, a round
            may be broken off; the result is then that of the rounds before.
        resume: a :class:`Found` of an earlier, stopped run with the same arguments; the budget counts what
            it had spent.
        watch: called after every round with the state; returning True stops.

    Raises:
        ValueError: a chain that the method cannot work with; a budget too small for one sample each.
        RewardError: a reward that failed; what earlier rounds found went to ``watch``.
    """
    if n < 1:
        raise ValueError(f"a run needs at least one search, got n={n}")
    verifier = as_verifier(reward)
    chain.check_searches(n)
    method.check(chain, verifier)
    job = Job(chain, verifier, n=n, seed=seed, budget=budget, spent=resume.spent if resume else Spent())
    if resume is None and not job.pays(n * chain.cost(), n):
        raise ValueError(
            f"{budget} does not pay for one sample of each of {n} searches: that takes "
            f"{n * chain.cost():g} network rows and {n * len(verifier)} verifications"
        )
    found, stop = resume, False
    ticks = track(iter(int, 1), "searching", enabled=progress)
    while not stop and not (found and found.done):
        next(ticks, None)
        try:
            made = method.begin(job) if found is None else method.advance(job, found)
        except EvaluationLimit as limit:
            if found is None:
                raise ValueError(f"{budget} does not pay for the first round: {limit}") from limit
            break
        if made is None:
            break
        mean = tuple(made.scores.mean(0).tolist())
        moment = Moment(job.meter.spent.rows, job.meter.spent.verified, mean)
        found = replace(made, spent=job.meter.spent, history=(*made.history, moment))
        stop = bool(watch(found)) if watch is not None else False
    assert found is not None
    return found if stop else replace(method.finish(job, found), spent=job.meter.spent, done=True)
