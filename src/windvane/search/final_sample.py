"""The last sample of a search over noises, made from the noise found by a chain of its own."""

import warnings
from dataclasses import replace

from windvane.evaluations import EvaluationLimit
from windvane.search.chain import Chain
from windvane.search.search_loop import Found, Job


def check_final(chain: Chain, final: Chain | None) -> None:
    """Refuse a final chain that cannot take the noise."""
    if final is not None and (final.shape != chain.shape or final.process != chain.process):
        raise ValueError(
            "the final chain takes the noise that the search found, so it needs the same shape and process; "
            f"got {final.shape} and {final.process} for {chain.shape} and {chain.process}"
        )


def final_cost(job: Job, final: Chain | None) -> float:
    """Network rows that the final samples will take."""
    return 0.0 if final is None else job.n * final.cost(per_call=job.chain.per_call)


def require_final(job: Job, final: Chain | None) -> None:
    """Refuse a budget that does not pay for one sample and the final one of each search."""
    rows, again = job.n * job.chain.cost() + final_cost(job, final), job.n * (final is not None)
    if not job.pays(rows, job.n + again):
        raise ValueError(
            f"{job.budget} does not pay for one sample and the final one of each of {job.n} searches: that "
            f"takes {rows:g} network rows and {(job.n + again) * len(job.verifier)} verifications"
        )


def generated(job: Job, found: Found, final: Chain | None) -> Found:
    """The samples of the noises found, made and scored again by the final chain.

    Where its guidance proves dearer than the budget allowed for, the samples stay those that were scored.
    """
    if final is None or found.noise is None or found.seeds is None:
        return found
    rows = job.searches(1)
    try:
        x = job.sample(found.noise, found.seeds.tolist(), rows, chain=final)
    except EvaluationLimit as limit:
        warnings.warn(f"the budget did not pay for the final samples ({limit})", stacklevel=2)
        return found
    return replace(found, x=x, scores=job.scores(x, rows))
