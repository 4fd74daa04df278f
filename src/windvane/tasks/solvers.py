"""Which solver for this model: the error of each against the network calls it makes."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.progress import track
from windvane.samplers import DPMSolverPP, DPMSolverSinglestep, Heun, Sampler, default_grid, sample
from windvane.samplers.plan import Grid

#: Fewer steps make no reference: the best solvers' own errors would hide in its error.
_LEAST_REFERENCE = 20


@dataclass(frozen=True)
class SolverPoint:
    """One solver at one budget: root mean square distance to the reference per pixel, over all samples.

    Args:
        budget: the calls allowed; calls: those made, never more.
        median: the distance of the median sample; one that ends elsewhere rules the mean, not the median.
        rows: network evaluations of a sample; guidance with two rows a call counts 2.
        seconds: for all samples.
    """

    solver: str
    budget: int
    calls: int
    steps: int
    rows: float
    error: float
    median: float
    seconds: float


@dataclass(frozen=True)
class Skipped:
    """A solver, or one of its budgets, that was not run, and why."""

    solver: str
    budget: int | None
    reason: str


@dataclass(frozen=True)
class Comparison:
    """Points and what was skipped.

    Args:
        reference: samples of the fine solution, as pictures where ``decode`` was given.
        drift: how far the reference moves with half as many steps: errors near it mean nothing.
        spread: root mean square distance of the reference's pixels from their mean, for scale.
    """

    points: tuple[SolverPoint, ...]
    skipped: tuple[Skipped, ...]
    reference: Tensor
    reference_steps: int
    drift: float
    spread: float

    def best(self, budget: int) -> SolverPoint:
        """The point of the least error among those of at most ``budget`` calls."""
        affordable = [point for point in self.points if point.calls <= budget]
        if not affordable:
            fewest = min((point.calls for point in self.points), default=0)
            raise ValueError(f"nothing was run with at most {budget} calls; the fewest are {fewest}")
        return min(affordable, key=lambda point: (point.error, point.calls))

    def curves(self) -> dict[str, tuple[list[float], list[float]]]:
        """solver -> (calls, errors), for a plot."""
        found: dict[str, tuple[list[float], list[float]]] = {}
        for point in sorted(self.points, key=lambda p: p.calls):
            x, y = found.setdefault(point.solver, ([], []))
            if point.calls not in x:
                x.append(point.calls)
                y.append(point.error)
        return found


def at_calls(sampler: Sampler, calls: int) -> tuple[Sampler, int]:
    """The sampler and the steps that make at most ``calls`` calls, on a grid that ends at sigma = 0.

    Heun makes 2 N - 1 calls in N steps; single-step solvers take the authors' orders for a budget.
    """
    if calls < 1:
        raise ValueError(f"a solver makes at least one call, got {calls}")
    if isinstance(sampler, Heun):
        return sampler, (calls + 1) // 2
    if isinstance(sampler, DPMSolverSinglestep):
        fast = DPMSolverSinglestep.fast(calls, sampler.order)
        return fast, len(fast.orders)
    return sampler, calls


def compare_solvers(
    denoiser: Any,
    solvers: Mapping[str, Sampler],
    *,
    calls: Sequence[int],
    seeds: int = 0,
    n: int = 64,
    cond: Condition | None = None,
    grid: Grid | None = None,
    clip: float | None = None,
    reference_steps: int = 500,
    decode: Callable[[Tensor], Tensor] | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> Comparison:
    """Distance of every solver's samples to a fine solution of the same probability flow, from equal seeds.

    The reference is DPM-Solver++ of order 3 in ``reference_steps`` steps on its default grid; the same in
    half as many tells how exact it is (:attr:`Comparison.drift`). A solver runs on ``grid``, or on its own
    default. Where a grid starts at less noise than another (the rectified flow's log-SNR grid), what that
    leaves out counts as the solver's error: it is what its user gets.

    Skipped with the reason: solvers that add noise, which follow no flow and can only be compared by the
    distribution of their samples; and what a solver itself refuses, such as EVODiff on a grid that is not
    even in log-SNR.

    Args:
        denoiser: guided or not.
        calls: budgets of network calls, see :func:`at_calls`.
        seeds: of the first sample; the others follow.
        decode: from samples to pictures, between which distances are taken.

    Raises:
        ValueError: budgets below 1, a coarse reference, or what sampling itself refuses.
    """
    if not calls or min(calls) < 1:
        raise ValueError(f"calls need budgets of at least 1, got {list(calls)}")
    if reference_steps < max(_LEAST_REFERENCE, 2 * max(calls)):
        raise ValueError(
            f"a reference needs at least {_LEAST_REFERENCE} steps and twice the largest budget of "
            f"{max(calls)} calls, got {reference_steps}"
        )
    draw = _Draw(denoiser, seeds, n, cond, clip, decode, batch_size)
    fine = DPMSolverPP(order=3)
    usual = default_grid(denoiser.process, fine)
    reference, *_ = draw(fine, reference_steps, usual, progress=progress)
    coarse, *_ = draw(fine, reference_steps // 2, usual, progress=progress)
    points: list[SolverPoint] = []
    skipped = [
        Skipped(name, None, "adds noise: it follows no flow; compare it by the distribution of its samples")
        for name, sampler in solvers.items()
        if sampler.stochastic
    ]
    jobs = [(name, s, budget) for name, s in solvers.items() if not s.stochastic for budget in calls]
    for name, sampler, budget in track(jobs, "comparing solvers", total=len(jobs), enabled=progress):
        chosen, steps = at_calls(sampler, budget)
        try:
            x, made, rows, seconds = draw(chosen, steps, grid or default_grid(denoiser.process, chosen))
        except (ValueError, FloatingPointError) as error:
            skipped.append(Skipped(name, budget, str(error)))
            continue
        each = (x - reference).square().flatten(1).mean(1)
        found = SolverPoint(name, budget, made, steps, rows, 0.0, 0.0, seconds)
        points.append(replace(found, error=float(each.mean().sqrt()), median=float(each.sqrt().median())))
    return Comparison(
        points=tuple(points),
        skipped=_merged(skipped, len(calls)),
        reference=reference,
        reference_steps=reference_steps,
        drift=float((coarse - reference).square().mean().sqrt()),
        spread=float((reference - reference.mean(0)).square().mean().sqrt()),
    )


@dataclass(frozen=True)
class _Draw:
    """Samples of one model from one set of seeds: pictures in float64, calls, rows, seconds."""

    denoiser: Any
    seed: int
    n: int
    cond: Condition | None
    clip: float | None
    decode: Callable[[Tensor], Tensor] | None
    batch_size: int | None

    def __call__(
        self, sampler: Sampler, steps: int, grid: Grid, *, progress: bool = False
    ) -> tuple[Tensor, int, float, float]:
        begin = time.perf_counter()
        made = sample(
            self.denoiser, seeds=self.seed, n=self.n, cond=self.cond, sampler=sampler, steps=steps, grid=grid,
            clip=self.clip, batch_size=self.batch_size, progress=progress,
        )  # fmt: skip
        seconds = time.perf_counter() - begin
        batches = -(-self.n // (self.batch_size or self.n))
        pictures = made if self.decode is None else made.decoded(self.decode, batch_size=self.batch_size)
        x = pictures.x.detach().to("cpu", torch.float64)
        return x, made.calls // batches, made.rows_per_sample, seconds


def _merged(skipped: Sequence[Skipped], budgets: int) -> tuple[Skipped, ...]:
    """One line for a solver that was skipped at every budget."""
    by_solver: dict[str, list[Skipped]] = {}
    for line in skipped:
        by_solver.setdefault(line.solver, []).append(line)
    kept: list[Skipped] = []
    for lines in by_solver.values():
        whole = len(lines) == budgets > 1
        kept.extend([replace(lines[0], budget=None)] if whole else lines)
    return tuple(kept)
