"""Candidates one after the other: the best is kept, or, with several rewards, all that may become it."""

import torch
from torch import Tensor

from windvane.search.search_loop import Found, Job


def tried_more(job: Job, found: Found | None, number: int) -> Found:
    """``number`` more candidates of every search: candidate j of search i has the seed ``seed + j n + i``."""
    tried = 0 if found is None else int(found.memory["tried"])
    rows = job.searches(number)
    seeds = job.seed + (torch.arange(number).repeat(job.n) + tried) * job.n + rows
    x = job.sample(job.chain.noise(seeds), seeds.tolist(), rows)
    scores = job.scores(x, rows).unflatten(0, (job.n, number))
    x = x.unflatten(0, (job.n, number))
    index = torch.arange(tried, tried + number).repeat(job.n, 1)
    if len(job.verifier) == 1:
        return _best_of_one(job, found, x, scores, index)
    return _best_by_rank(job, found, x, scores, index)


def _best_of_one(job: Job, found: Found | None, x: Tensor, scores: Tensor, index: Tensor) -> Found:
    if found is not None:
        if found.seeds is None:
            raise ValueError("this search was not begun by the same method")
        x, scores = torch.cat([found.x[:, None], x], dim=1), torch.cat([found.scores[:, None], scores], dim=1)
        before = (found.seeds - job.seed) // job.n
        index = torch.cat([before[:, None], index], dim=1)
    at, winner = torch.arange(job.n), scores[..., 0].argmax(1)
    return _found(job, found, x[at, winner], scores[at, winner], index[at, winner], int(index.max()) + 1, {})


def _best_by_rank(job: Job, found: Found | None, x: Tensor, scores: Tensor, index: Tensor) -> Found:
    """Memory: the scores of all candidates, and of each search in turn the samples that may still win."""
    every, tried = scores, int(index.max()) + 1
    fronts = [(x[i], index[i]) for i in range(job.n)]
    if found is not None:
        every = torch.cat([found.memory["all_scores"], scores], dim=1)
        sizes = found.memory["front_sizes"].tolist()
        before = zip(found.memory["front_x"].split(sizes), found.memory["front_index"].split(sizes))
        fronts = [
            (torch.cat([old_x, new_x]), torch.cat([old, new]))
            for (old_x, old), (new_x, new) in zip(before, fronts)
        ]
    kept = [undominated(every[i, of]) for i, (_, of) in enumerate(fronts)]
    fronts = [(front[keep], of[keep]) for keep, (front, of) in zip(kept, fronts)]
    winner = job.verifier.rank(every).argmax(1)
    best = torch.stack([front[of == win][0] for win, (front, of) in zip(winner, fronts)])
    memory = {
        "all_scores": every,
        "front_x": torch.cat([front for front, _ in fronts]),
        "front_index": torch.cat([of for _, of in fronts]),
        "front_sizes": torch.tensor([len(of) for _, of in fronts]),
    }
    return _found(job, found, best, every[torch.arange(job.n), winner], winner, tried, memory)


def undominated(scores: Tensor) -> Tensor:
    """Which of m candidates ``(m, K)`` no other one equals or beats under every reward, bool ``(m,)``.

    The others never have the best mean rank, whatever candidates are still to come: who equals or beats them
    everywhere has always at least their rank. Of equal ones the first counts.
    """
    at_least = (scores[:, None] >= scores[None]).all(-1)  # [i, j]: i equals or beats j everywhere
    equal = at_least & at_least.T
    earlier = torch.ones_like(equal).triu(1)
    return ~(at_least & (~equal | earlier)).any(0)


def _found(
    job: Job,
    found: Found | None,
    x: Tensor,
    scores: Tensor,
    index: Tensor,
    tried: int,
    memory: dict[str, Tensor],
) -> Found:
    seeds = job.seed + index * job.n + torch.arange(job.n)
    return Found(
        x,
        scores,
        noise=job.chain.noise(seeds),
        seeds=seeds,
        rounds=0 if found is None else found.rounds + 1,
        memory={"tried": torch.tensor(tried), **memory},
        history=() if found is None else found.history,
    )
