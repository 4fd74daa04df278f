"""Searches over the starting noise: best of n, random, zero-order."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from windvane.randomness import noise_for
from windvane.search.candidates import tried_more
from windvane.search.chain import Chain
from windvane.search.final_sample import check_final, final_cost, generated, require_final
from windvane.search.rewards import Verifier
from windvane.search.search_loop import Found, Job

_STREAM_DIRECTION = 1 << 44
_STREAM_RESTART = (1 << 44) + 1


@dataclass(frozen=True)
class BestOf:
    """Best of N: sample as always, keep the sample with the highest score.

    Candidate j of search i has the seed ``seed + j n + i``, and is what :func:`windvane.sample` gives for it.
    Any sampler, any process. With several rewards the winner is the best by rank among all candidates; those
    are kept that may still become it, see :func:`~windvane.search.candidates.undominated`.

    Args:
        candidates: N; None takes as many as the budget pays for.
    """

    candidates: int | None = None

    def __post_init__(self) -> None:
        if self.candidates is not None and self.candidates < 1:
            raise ValueError(f"best of N needs N >= 1, got {self.candidates}")

    def check(self, chain: Chain, verifier: Verifier) -> None:
        """Everything goes."""

    def begin(self, job: Job) -> Found:
        if self.candidates is None and job.budget is None:
            raise ValueError("without a budget, say how many: BestOf(candidates=...)")
        return tried_more(job, None, self._number(job, 0))

    def advance(self, job: Job, found: Found) -> Found | None:
        number = self._number(job, int(found.memory["tried"]))
        return tried_more(job, found, number) if number else None

    def finish(self, job: Job, found: Found) -> Found:
        return found

    def _number(self, job: Job, tried: int) -> int:
        """Candidates of the next round: what fits in a micro-batch, the budget and what is left of N."""
        left = self.candidates - tried if self.candidates is not None else 1 << 60
        fits = max(1, job.chain.batch_size // job.n)
        if tried == 0:  # the cost of a sample is known after the first
            fits = 1
        return min(left, fits, job.affordable(job.n * job.chain.cost(), job.n))


@dataclass(frozen=True)
class RandomNoise:
    """Random search (Ma et al. 2025, arXiv 2501.09732, section 2): the best of N noises, then the sample.

    As :class:`BestOf`, but what is found is the noise: the sample is made again from it by ``final``, usually
    a chain of more steps, and scored again. A change of the map from noise to sample changes the winner a
    little.

    Args:
        candidates: N; None takes as many as the budget pays for, the final samples included.
        final: the chain of the final sample; None keeps the sample that was scored.
    """

    candidates: int | None = None
    final: Chain | None = None

    def check(self, chain: Chain, verifier: Verifier) -> None:
        BestOf(self.candidates)
        check_final(chain, self.final)

    def begin(self, job: Job) -> Found:
        require_final(job, self.final)
        return BestOf(self.candidates).begin(job)

    def advance(self, job: Job, found: Found) -> Found | None:
        number = BestOf(self.candidates)._number(job, int(found.memory["tried"]))
        cost, kept = job.n * job.chain.cost(), final_cost(job, self.final)
        again = job.n * (self.final is not None)
        while number > 0 and not job.pays(number * cost + kept, number * job.n + again):
            number -= 1
        return tried_more(job, found, number) if number > 0 else None

    def finish(self, job: Job, found: Found) -> Found:
        return generated(job, found, self.final)


@dataclass(frozen=True)
class ZeroOrder:
    """Zero-order search (Ma et al. 2025, arXiv 2501.09732, section 2): climb from neighbour to neighbour.

    Each round tries ``neighbours`` of the pivot noise, see :func:`neighbours`, and moves to the best if it
    beats the pivot. Where a sampler adds noise, the noise of its steps stays that of the search's seed, so
    that an accepted noise reproduces its score. On PFGM++ the pivot keeps its norm, too.

    Args:
        neighbours: N; 4 is near what pays (the paper's 2 to 4).
        cosine: between pivot and neighbour; smaller steps further, and over-fits the reward sooner.
        rounds: K; None goes on while the budget pays.
        on_stall: when no neighbour is better, ``"stay"`` (the paper) or ``"restart"`` from a fresh noise (the
            public re-implementation); the best of all is kept in any case.
        final: a chain that makes the final sample, as in :class:`RandomNoise`.
    """

    neighbours: int = 4
    cosine: float = 0.95
    rounds: int | None = None
    on_stall: str = "stay"
    final: Chain | None = None

    def __post_init__(self) -> None:
        if self.neighbours < 1 or not -1 < self.cosine < 1:
            raise ValueError(
                f"zero-order search needs neighbours >= 1 and -1 < cosine < 1, got {self.neighbours} and "
                f"{self.cosine}"
            )
        if self.on_stall not in ("stay", "restart"):
            raise ValueError(f"on_stall must be 'stay' or 'restart', got {self.on_stall!r}")
        if self.rounds is not None and self.rounds < 0:
            raise ValueError(f"rounds must be at least 0, got {self.rounds}")

    def check(self, chain: Chain, verifier: Verifier) -> None:
        check_final(chain, self.final)

    def begin(self, job: Job) -> Found:
        if self.rounds is None and job.budget is None:
            raise ValueError("without a budget, say how many rounds: ZeroOrder(rounds=...)")
        require_final(job, self.final)
        seeds = torch.arange(job.seed, job.seed + job.n)
        noise = job.chain.noise(seeds)
        x = job.sample(noise, seeds.tolist(), job.searches(1))
        scores = job.scores(x, job.searches(1))
        memory = {"pivot": noise, "pivot_scores": scores}
        return Found(x, scores, noise=noise, seeds=seeds, memory=memory)

    def advance(self, job: Job, found: Found) -> Found | None:
        if self.rounds is not None and found.rounds >= self.rounds:
            return None
        each, n, seeds = self.neighbours, job.n, torch.arange(job.seed, job.seed + job.n)
        again = n * (self.final is not None)
        # A round that may end in a restart is paid for as a whole, so that a budget cuts none of them.
        most = n * (each + (self.on_stall == "restart"))
        if not job.pays(most * job.chain.cost() + final_cost(job, self.final), most + again):
            return None
        pivot, rows = found.memory["pivot"], job.searches(each)
        keys = job.keys(_STREAM_DIRECTION, found.rounds, each=each)
        tried = neighbours(pivot[rows], keys, cosine=self.cosine)
        x = job.sample(tried, seeds[rows].tolist(), rows)
        scores = job.scores(x, rows).unflatten(0, (n, each))
        # The pivot stands first, so that it stays where a neighbour is no better.
        among = torch.cat([found.memory["pivot_scores"][:, None], scores], dim=1)
        winner = job.verifier.rank(among).argmax(1)
        moved, at = winner > 0, torch.arange(n)
        new_noise = torch.where(like(moved, pivot), tried.unflatten(0, (n, each))[at, winner - 1], pivot)
        new_x = torch.where(like(moved, x), x.unflatten(0, (n, each))[at, winner - 1], found.x)
        new_scores = among[at, winner]
        best = moved
        if self.on_stall == "restart":
            best = best & better(job.verifier, new_scores, found.scores)
        result = replace(
            found,
            x=torch.where(like(best, x), new_x, found.x),
            scores=torch.where(best[:, None], new_scores, found.scores),
            noise=torch.where(like(best, pivot), new_noise, pivot if found.noise is None else found.noise),
            rounds=found.rounds + 1,
            memory={"pivot": new_noise, "pivot_scores": new_scores},
        )
        if self.on_stall == "restart" and not bool(moved.all()):
            return self._restarted(job, result, ~moved)
        return result

    def _restarted(self, job: Job, found: Found, stalled: Tensor) -> Found:
        """A fresh pivot, sampled and scored, for the searches that stalled."""
        rows = stalled.nonzero().flatten()
        if found.seeds is None or found.noise is None:
            raise ValueError("this search was not begun by the same method")
        keys = job.keys(_STREAM_RESTART, found.rounds)
        noise = job.chain.noise([keys[row] for row in rows.tolist()])
        x = job.sample(noise, found.seeds[rows].tolist(), rows)
        scores = job.scores(x, rows)
        pivot, pivot_scores = found.memory["pivot"].clone(), found.memory["pivot_scores"].clone()
        pivot[rows], pivot_scores[rows] = noise, scores
        best = better(job.verifier, scores, found.scores[rows])
        all_x, all_scores, all_noise = found.x.clone(), found.scores.clone(), found.noise.clone()
        won = rows[best]
        all_x[won], all_scores[won], all_noise[won] = x[best], scores[best], noise[best]
        memory = {"pivot": pivot, "pivot_scores": pivot_scores}
        return replace(found, x=all_x, scores=all_scores, noise=all_noise, memory=memory)

    def finish(self, job: Job, found: Found) -> Found:
        return generated(job, found, self.final)


def neighbours(noise: Tensor, keys: list[int], *, cosine: float) -> Tensor:
    """A noise of the same norm at the given cosine in a random direction: |n| (c u + sqrt(1 - c^2) w).

    u = n / |n| and w is uniform on the unit sphere orthogonal to it, keyed by row. Every isotropic law stays
    invariant. Adding noise instead would inflate the norm.
    """
    flat = noise.flatten(1).double()
    norm = flat.norm(dim=1, keepdim=True)
    unit = flat / norm
    drawn = noise_for(keys, 0, flat.shape[1:], dtype=torch.float64).to(flat.device)
    across = drawn - (drawn * unit).sum(1, keepdim=True) * unit
    across = across / across.norm(dim=1, keepdim=True)
    found = norm * (cosine * unit + (1 - cosine**2) ** 0.5 * across)
    return found.reshape(noise.shape).to(noise.dtype)


def better(verifier: Verifier, new: Tensor, old: Tensor) -> Tensor:
    """Whether scores ``(n, K)`` beat others, as candidates of two."""
    rank = verifier.rank(torch.stack([old, new], dim=1))
    return rank[:, 1] > rank[:, 0]


def like(mask: Tensor, x: Tensor) -> Tensor:
    """A mask ``(n,)`` that broadcasts against x ``(n, *)``."""
    return mask.reshape(-1, *([1] * (x.ndim - 1)))
