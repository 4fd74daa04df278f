"""Search over paths: survivors are noised a little and denoised again, and the most promising stay."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from windvane.process import require_gaussian
from windvane.randomness import noise_for
from windvane.search.chain import Chain
from windvane.search.noise_search import better, like
from windvane.search.rewards import Verifier
from windvane.search.search_loop import Found, Job

_STREAM_START = 1 << 45
_STREAM_RENOISE = (1 << 45) + 1
_STREAM_STEPS = (1 << 45) + 2
UNITS = ("time", "noise_level")


@dataclass(frozen=True)
class Paths:
    """Search over paths (Ma et al. 2025, arXiv 2501.09732, section 2).

    ``keep`` survivors are solved from noise down to the level s = ``start``. Then, until s reaches 0: each is
    noised ``expand`` times to s + ``forward`` (:meth:`~windvane.process.Process.renoise`), solved to
    s' = s + ``forward`` - ``backward``, judged by the reward of its prediction of x0, and the best ``keep``
    of all go on with s = s'. At s = 0 the samples themselves are judged, and the best is the result.

    Segments are solved on the chain's own times between their ends. A round is one level. With ``repeats``
    the search begins again from other noise, and the best sample of all is the result.

    Args:
        keep: N; ``expand``: M.
        start, forward, backward: in the process's time, by default a rectified flow's (the paper's 0.11,
            0.78 and 0.81), or with ``unit="noise_level"`` in sigma / alpha, which EDM's process wants.
            ``backward`` exceeds ``forward``, or the search would not end.
        repeats: searches one after the other; None goes on while the budget pays for a whole one.

    Raises:
        ValueError: levels that do not end or do not fit the chain; a process whose noise is not Gaussian; a
            solver that needs steps even in log-SNR, such as EVODiff.
    """

    keep: int = 2
    expand: int = 4
    start: float = 0.11
    forward: float = 0.78
    backward: float = 0.81
    unit: str = "time"
    repeats: int | None = 1

    def __post_init__(self) -> None:
        if self.repeats is not None and self.repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {self.repeats}")
        if self.keep < 1 or self.expand < 1:
            raise ValueError(f"paths need keep >= 1 and expand >= 1, got {self.keep} and {self.expand}")
        if self.unit not in UNITS:
            raise ValueError(f"unit must be one of {', '.join(UNITS)}, got {self.unit!r}")
        if not (self.start > 0 and 0 < self.forward < self.backward):
            raise ValueError(
                "paths need start > 0 and 0 < forward < backward (a net step to cleaner levels), got "
                f"start={self.start:g}, forward={self.forward:g}, backward={self.backward:g}"
            )

    def levels(self) -> list[float]:
        """s at the start of each round, and 0."""
        found = [self.start]
        while found[-1] > 0:
            following = found[-1] + self.forward - self.backward
            found.append(following if following > 1e-9 * self.start else 0.0)
        return found

    def check(self, chain: Chain, verifier: Verifier) -> None:
        require_gaussian(chain.process, "search over paths, which noises its survivors again,")
        if chain.sampler.traits.needs_grid:
            raise ValueError(
                f"search over paths solves segments that are not even in log-SNR, and {chain.sampler} needs "
                "such; take a solver for any grid, such as UniPC() or DPMSolverPP()"
            )
        highest = self._time(chain, self.start + self.forward)
        first = float(chain.times[0])
        if not 0 < float(highest) <= first:
            raise ValueError(
                f"paths go up to {self.start + self.forward:g} in {self.unit}, above the chain's first time "
                f"{first:.4g} (noise level {float(chain.process.noise_level(chain.times[0])):.4g})"
            )

    def begin(self, job: Job) -> Found:
        if self.repeats is None and job.budget is None:
            raise ValueError("without a budget, say how many searches: Paths(repeats=...)")
        rows, verified = self._first_cost(job), job.n * self.keep
        if not job.pays(rows, verified):
            raise ValueError(
                f"{job.budget} does not pay for the first round of paths: {rows:g} network rows and "
                f"{verified * len(job.verifier)} verifications"
            )
        return self._descend(job, job.keys(_STREAM_START, each=self.keep))

    def advance(self, job: Job, found: Found) -> Found | None:
        levels = self.levels()
        number, at = divmod(found.rounds, len(levels))
        if at < len(levels) - 1:
            return self._lower(job, found, number, at)
        if self.repeats is not None and number + 1 >= self.repeats or not self._pays_again(job):
            return None
        made = self._descend(job, job.keys(_STREAM_START, number + 1, each=self.keep))
        made = replace(made, rounds=found.rounds + 1, history=found.history)
        return self._with_best(job, made, found, last=False)

    def finish(self, job: Job, found: Found) -> Found:
        return found

    def _descend(self, job: Job, keys: list[int]) -> Found:
        """The survivors at the level ``start``, best prediction first."""
        chain, rows, level = job.chain, job.searches(self.keep), self._time(job.chain, self.start)
        with job.counting():
            x = chain.solve(chain.start(chain.noise(keys)), self._first(chain), keys, rows)
            x0 = chain.predict(x, level, rows)
        return self._selected(job, Found(x, torch.empty(0)), x, x0, each=self.keep)

    def _lower(self, job: Job, found: Found, number: int, at: int) -> Found | None:
        """From level ``at`` to the next one; None where the budget does not pay for it."""
        levels, chain = self.levels(), job.chain
        here, after = (self._time(chain, level) for level in levels[at : at + 2])
        up, last = self._time(chain, levels[at] + self.forward), at == len(levels) - 2
        each = self.keep * self.expand
        rows = job.searches(each)
        if not job.pays(self._lower_cost(job, at), len(rows)):
            return None
        # Each survivor `expand` times in turn.
        survivors = found.memory["survivors"].repeat_interleave(self.expand, dim=1).flatten(0, 1)
        noise = noise_for(job.keys(_STREAM_RENOISE, found.rounds, each=each), 0, chain.shape)
        with job.counting():
            x = survivors.to(chain.device, chain.dtype)
            x = chain.process.renoise(x, here, up, noise.to(x))
            keys = job.keys(_STREAM_STEPS, found.rounds, each=each)
            x = chain.solve(x, self._segment(chain, up, after), keys, rows)
            x0 = x if last else chain.predict(x, after, rows)
        made = replace(self._selected(job, found, x, x0, each=each), rounds=found.rounds + 1)
        done = last and self.repeats is not None and number + 1 >= self.repeats
        return replace(self._with_best(job, made, found, last=last), done=done)

    def _with_best(self, job: Job, made: Found, before: Found, *, last: bool) -> Found:
        """What earlier searches found stays the result until the end of another one beats it."""
        memory, best = dict(made.memory), before.memory
        if "best" in best:
            x, scores = best["best"], best["best_scores"]
            if last:
                won = better(job.verifier, made.scores, scores)
                x, scores = (
                    torch.where(like(won, x), made.x, x),
                    torch.where(won[:, None], made.scores, scores),
                )
            made = replace(made, x=x, scores=scores)
        if last or "best" in best:
            memory |= {"best": made.x, "best_scores": made.scores}
        return replace(made, memory=memory)

    def _selected(self, job: Job, found: Found, x: Tensor, x0: Tensor, *, each: int) -> Found:
        """The best ``keep`` of every search, by the scores of the predictions."""
        scores = job.scores(x0, job.searches(each)).unflatten(0, (job.n, each))
        rank = job.verifier.rank(scores)
        order = rank.argsort(dim=1, descending=True, stable=True)[:, : self.keep]
        at = torch.arange(job.n)[:, None]
        survivors = x.cpu().unflatten(0, (job.n, each))[at, order]
        best = x0.cpu().unflatten(0, (job.n, each))[torch.arange(job.n), order[:, 0]]
        memory = {"survivors": survivors}
        return replace(found, x=best, scores=scores[torch.arange(job.n), order[:, 0]], memory=memory)

    def _time(self, chain: Chain, level: float) -> Tensor:
        value = torch.tensor(level, dtype=torch.float64)
        if self.unit == "time" or level == 0:
            return value
        return chain.process.t_of_noise_level(value)

    def _segment(self, chain: Chain, first: Tensor, last: Tensor) -> Tensor:
        """The chain's times between the ends, and the ends."""
        inner = chain.times[(chain.times < first * (1 - 1e-6)) & (chain.times > last * (1 + 1e-6))]
        inner = inner[inner > 0]
        return torch.cat([first[None], inner, last[None]])

    def _first(self, chain: Chain) -> Tensor:
        """The times from noise to the level ``start``."""
        return self._segment(chain, chain.times[0], self._time(chain, self.start))

    def _first_cost(self, job: Job) -> float:
        """Network rows of the first round of a search, its predictions included."""
        chain = job.chain
        return job.n * self.keep * (chain.solve_cost(self._first(chain)) + (chain.per_call or 1.0))

    def _lower_cost(self, job: Job, at: int) -> float:
        """Network rows of the round from level ``at`` to the next one."""
        levels, chain = self.levels(), job.chain
        up, after = (self._time(chain, level) for level in (levels[at] + self.forward, levels[at + 1]))
        predicted = 0.0 if levels[at + 1] == 0 else chain.per_call or 1.0
        each = job.n * self.keep * self.expand
        return each * (chain.solve_cost(self._segment(chain, up, after)) + predicted)

    def _pays_again(self, job: Job) -> bool:
        """Whether the budget pays for a whole search more."""
        below = len(self.levels()) - 1
        rows = self._first_cost(job) + sum(self._lower_cost(job, at) for at in range(below))
        return job.pays(rows, job.n * self.keep * (1 + self.expand * below))
