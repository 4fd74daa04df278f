"""Searching a guidance's scales: beam search as in TFG, or a grid, on a budget, by a judge of the user's."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from windvane.conditions import Condition
from windvane.energies import Energy
from windvane.guidance.gradient import GradientGuidance
from windvane.progress import track
from windvane.randomness import seed_range
from windvane.samplers import DDIM, Sampler, sample

#: Samples ``(n, *)`` to a score, one number or one a sample; larger is better.
Judgement = Callable[[Tensor], Tensor | float]
Settings = dict[str, float]


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Args:
        score: the judge's mean; minus infinity where sampling failed, see ``failure``.
        calls: network evaluations per sample.
        round: in which round of the search, 0 being the start.
    """

    settings: Settings
    score: float
    calls: float
    round: int
    failure: str = ""


@dataclass(frozen=True)
class Search:
    """What a search found.

    Args:
        guidance: the best setting as a guidance; ``settings`` its numbers and ``score`` its score.
        trials: every setting tried, in order.
        seeds: of the samples that chose it. They may not be reported: see :meth:`fresh`.
        complete: whether the search ended by itself, not by its budget.
    """

    guidance: GradientGuidance
    settings: Settings
    score: float
    trials: tuple[Trial, ...]
    seeds: Tensor
    complete: bool

    def fresh(self, seeds: int | Sequence[int] | Tensor, n: int | None = None) -> Tensor:
        """The seeds ``(n,)`` to report with, if the search has seen none of them.

        Raises:
            ValueError: seeds that chose the setting: a figure on them is no evidence.
        """
        wanted = seed_range(seeds, n)
        seen = sorted(set(wanted.tolist()) & set(self.seeds.tolist()))
        if seen:
            raise ValueError(
                f"{len(seen)} of these seeds chose the setting (first: {seen[0]}); report on others, the "
                f"search used {int(self.seeds.min())} to {int(self.seeds.max())}"
            )
        return wanted

    def rows(self) -> list[dict[str, float | str]]:
        """One row a trial, best first: its settings, score, calls and round."""
        ordered = sorted(self.trials, key=lambda trial: -trial.score)
        return [
            {**t.settings, "score": t.score, "calls": t.calls, "round": t.round, "failure": t.failure}
            for t in ordered
        ]


class _Bench:
    """Scores settings, each once, until the budget is spent."""

    def __init__(
        self,
        make: Callable[..., GradientGuidance],
        denoiser: Any,
        judge: Judgement,
        *,
        seeds: Tensor,
        cond: Condition | None,
        sampler: Sampler,
        steps: int,
        clip: float | tuple[float, float] | None,
        budget: int | None,
    ) -> None:
        if budget is not None and budget < 1:
            raise ValueError(f"a budget is at least one setting, got {budget}")
        self.make, self.denoiser, self.judge = make, denoiser, judge
        self.seeds, self.cond, self.sampler = seeds, cond, sampler
        self.steps, self.clip, self.budget = steps, clip, budget
        self.known: dict[tuple[tuple[str, float], ...], Trial] = {}
        self.complete = True

    def score(self, wanted: Sequence[Settings], number: int, *, progress: bool) -> list[Trial]:
        """The trials of these settings that the budget allows; those known are not made again."""
        new = {tuple(s.items()): s for s in wanted if tuple(s.items()) not in self.known}
        left = len(new) if self.budget is None else max(0, self.budget - len(self.known))
        self.complete = self.complete and len(new) <= left
        chosen = list(new.items())[:left]
        what = f"searching, round {number}"
        for key, settings in track(chosen, what, total=len(chosen), enabled=progress):
            self.known[key] = self._trial(settings, number)
        return [self.known[tuple(s.items())] for s in wanted if tuple(s.items()) in self.known]

    def _trial(self, settings: Settings, number: int) -> Trial:
        guidance = self.make(**settings)
        if not isinstance(guidance, GradientGuidance):
            raise ValueError(f"make(**settings) must give a GradientGuidance, got {type(guidance).__name__}")
        guides = [energy for g in guidance.guides for _, energy in g.energy.terms()]
        if isinstance(self.judge, Energy) and any(self.judge is energy for energy in guides):
            raise ValueError(
                f"the energy {self.judge.name!r} guides and may not judge too: it would choose whatever "
                "fools it best. Judge with another model"
            )
        try:
            drawn = sample(
                self.denoiser, seeds=self.seeds, cond=self.cond, sampler=guidance.sampler(self.sampler),
                steps=self.steps, clip=self.clip, progress=False,
            )  # fmt: skip
        except FloatingPointError as error:  # too strong a setting is a bad one, not the end of the search
            return Trial(settings, -math.inf, math.nan, number, str(error))
        values = self.judge(drawn.x)
        score = float(values.double().mean()) if isinstance(values, Tensor) else float(values)
        if not math.isfinite(score):
            raise ValueError(f"the judge gave {score} for {settings}; it must give finite scores")
        return Trial(settings, score, drawn.rows_per_sample, number)

    def found(self) -> Search:
        trials = tuple(self.known.values())
        best = max(trials, key=lambda trial: trial.score)
        if best.score == -math.inf:
            raise FloatingPointError(
                f"every one of {len(trials)} settings failed; the first with: {trials[0].failure}"
            )
        guidance = self.make(**best.settings)
        return Search(guidance, best.settings, best.score, trials, self.seeds, self.complete)


def beam_search(
    make: Callable[..., GradientGuidance],
    denoiser: Any,
    judge: Judgement,
    *,
    start: Mapping[str, float],
    largest: Mapping[str, float],
    factor: float = 2.0,
    beam: int = 2,
    rounds: int = 6,
    budget: int | None = None,
    seeds: int | Sequence[int] | Tensor = 0,
    n: int | None = 64,
    cond: Condition | None = None,
    sampler: Sampler = DDIM(eta=1.0),  # noqa: B008 (frozen)
    steps: int = 50,
    clip: float | tuple[float, float] | None = None,
    progress: bool = True,
) -> Search:
    """The scales of a guidance by TFG's search (Ye et al. 2024, arXiv 2409.15761, section 4 and appendix).

    From ``start``, which is small in every scale, ``rounds`` times: each of the ``beam`` best settings so far
    has one scale at a time multiplied by ``factor``, up to ``largest``, and every new setting is scored by
    the judge on the same n samples. Ends early when nothing new is left, or at ``budget`` settings.

    Args:
        make: scales to a guidance, such as ``partial(presets.tfg, energy, iterations=4)``.
        judge: samples to a score, larger is better: a model that does not guide. Samples are chosen *on*
            these seeds, so report on others: ``found.fresh(seeds)``.
        start, largest: scale by name; all of ``start`` positive and at most ``largest``.
        seeds, n, cond, sampler, steps, clip: as for :func:`~windvane.samplers.sample`; n is the paper's 64.

    Raises:
        ValueError: scales, factor or budget out of range; a judge that guides, or without a finite score.
        FloatingPointError: every setting failed. One that does scores minus infinity.
    """
    if not start or set(start) != set(largest):
        raise ValueError(f"start and largest need the same scales, got {sorted(start)}, {sorted(largest)}")
    wrong = {name: value for name, value in start.items() if not 0 < value <= largest[name]}
    if wrong:
        raise ValueError(f"scales start above 0 and at most at their largest, got {wrong} of {dict(largest)}")
    if factor <= 1 or beam < 1 or rounds < 0:
        raise ValueError(f"need factor > 1, beam >= 1, rounds >= 0, got {factor}, {beam}, {rounds}")
    bench = _Bench(
        make, denoiser, judge, seeds=seed_range(seeds, n if isinstance(seeds, int) else None), cond=cond,
        sampler=sampler, steps=steps, clip=clip, budget=budget,
    )  # fmt: skip
    bench.score([dict(start)], 0, progress=progress)
    for number in range(1, rounds + 1):
        best = sorted(bench.known.values(), key=lambda trial: -trial.score)[:beam]
        wanted = [
            {**trial.settings, name: trial.settings[name] * factor}
            for trial in best
            for name in start
            if trial.settings[name] * factor <= largest[name] * (1 + 1e-9)
        ]
        before = len(bench.known)
        bench.score(wanted, number, progress=progress)
        if len(bench.known) == before:
            break
    return bench.found()


def grid_search(
    make: Callable[..., GradientGuidance],
    denoiser: Any,
    judge: Judgement,
    *,
    grid: Mapping[str, Sequence[float]],
    budget: int | None = None,
    seeds: int | Sequence[int] | Tensor = 0,
    n: int | None = 64,
    cond: Condition | None = None,
    sampler: Sampler = DDIM(eta=1.0),  # noqa: B008 (frozen)
    steps: int = 50,
    clip: float | tuple[float, float] | None = None,
    progress: bool = True,
) -> Search:
    """The best of every combination of the values of ``grid``, in turn; see :func:`beam_search`.

    With a ``budget`` the first ones only, and ``complete`` is false.
    """
    if not grid or not all(len(values) for values in grid.values()):
        raise ValueError(
            f"a grid needs values for every scale, got { {k: list(v) for k, v in grid.items()} }"
        )
    bench = _Bench(
        make, denoiser, judge, seeds=seed_range(seeds, n if isinstance(seeds, int) else None), cond=cond,
        sampler=sampler, steps=steps, clip=clip, budget=budget,
    )  # fmt: skip
    combined = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    bench.score(combined, 0, progress=progress)
    return bench.found()
