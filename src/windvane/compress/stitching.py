"""Trajectory stitching: a small denoiser takes the noisiest steps, larger ones the rest; nothing is trained.

Pan et al. 2024, arXiv 2402.14167.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from windvane.compress.cost import cosine
from windvane.conditions import Condition
from windvane.convert import eps_from_x0
from windvane.denoiser import Denoiser
from windvane.guidance.routed import ByLogSNR, BySteps, ByTime, Route, Routed
from windvane.progress import track

Fractions = tuple[float, ...]


def stitched(denoisers: Sequence[Denoiser], fractions: Sequence[float], *, by: str = "steps") -> Routed:
    """Denoisers in turn, from noise to data: the i-th takes the share ``fractions[i]`` of the trajectory.

    ``by="steps"`` is the paper's: the first round(r_1 N) of N steps, whatever the grid. ``"t"`` switches
    where t passes t_max (1 - r_1), as the authors' code for DiT does, ``"log_snr"`` at the share r_1 of the
    log-SNR; these two do not depend on the grid, and their share of its steps may be very different. Shares
    0 and 1 are exactly the other model and the model alone, on every clock. Multistep solvers keep their
    history across a switch, as in the paper.

    The models share process, data shape and condition; what they predict may differ. Guidance goes around the
    whole, ``ClassifierFree(stitched(...), w)``, or around each.

    Raises:
        ValueError: fractions that are not shares; models that do not fit together; an unknown clock.
    """
    clocks: dict[str, Callable[[Fractions], Route]] = {"steps": BySteps, "t": ByTime, "log_snr": ByLogSNR}
    if by not in clocks:
        raise ValueError(f"unknown clock {by!r}; known: {', '.join(clocks)}")
    return Routed(denoisers, clocks[by](tuple(float(f) for f in fractions)))


def lattice(models: int, parts: int = 10) -> list[Fractions]:
    """All fractions of ``models`` models in multiples of 1 / ``parts``: 66 for three models and ten parts."""
    if models < 1 or parts < 1:
        raise ValueError(f"a lattice needs models >= 1 and parts >= 1, got {models} and {parts}")

    def compositions(left: int, over: int) -> Iterator[tuple[int, ...]]:
        if over == 1:
            yield (left,)
            return
        for first in range(left, -1, -1):
            for rest in compositions(left - first, over - 1):
                yield (first, *rest)

    return [tuple(n / parts for n in found) for found in compositions(parts, models)]


def within_budget(costs: Sequence[float], budget: float, *, parts: int = 10) -> list[tuple[Fractions, float]]:
    """The lattice's fractions whose mean cost a step, sum_i r_i C_i, is at most ``budget``; dearest first."""
    priced = [(f, math.fsum(r * c for r, c in zip(f, costs))) for f in lattice(len(costs), parts)]
    found = [(f, cost) for f, cost in priced if cost <= budget * (1 + 1e-9)]
    if not found:
        raise ValueError(f"the budget {budget:g} is below the cheapest model's {min(costs):g} a step")
    return sorted(found, key=lambda point: -point[1])


@dataclass(frozen=True)
class Point:
    """One stitching: its fractions, its cost in the sweep's unit, and what was measured (less is better)."""

    fractions: Fractions
    cost: float
    error: float


@dataclass(frozen=True)
class Sweep:
    """Measured stitchings; prints as the table of cost and error, the cheapest first."""

    points: tuple[Point, ...]

    def best(self, budget: float) -> Point:
        """The point of the least error among those that cost at most ``budget``, in the unit of the costs."""
        affordable = [p for p in self.points if p.cost <= budget * (1 + 1e-9)]
        if not affordable:
            cheapest = min(p.cost for p in self.points)
            raise ValueError(f"nothing costs at most {budget:g}; the cheapest costs {cheapest:g}")
        return min(affordable, key=lambda p: (p.error, p.cost))

    def frontier(self) -> tuple[Point, ...]:
        """The points that no other one beats in both cost and error, the cheapest first."""
        kept: list[Point] = []
        for point in sorted(self.points, key=lambda p: (p.cost, p.error)):
            if not kept or point.error < kept[-1].error:
                kept.append(point)
        return tuple(kept)

    def __str__(self) -> str:
        frontier = set(self.frontier())
        lines = ["fractions                    cost       error"]
        for p in sorted(self.points, key=lambda p: (p.cost, p.error)):
            name = "/".join(f"{100 * f:.0f}" for f in p.fractions)
            lines.append(f"{name:<20}{p.cost:>13.4g}{p.error:>12.4g}{'  *' if p in frontier else ''}")
        return "\n".join([*lines, "* no other point is both cheaper and better"])


def sweep(
    denoisers: Sequence[Denoiser],
    measure: Callable[[Routed], float],
    *,
    costs: Sequence[float] | Callable[[Routed], float],
    fractions: Sequence[Sequence[float]] | None = None,
    by: str = "steps",
    progress: bool = True,
) -> Sweep:
    """Measure stitchings of ``denoisers``: the quality-cost curve, from which a budget picks a point.

    Args:
        measure: the error of a stitched denoiser, less is better, such as a Fréchet distance of samples.
        costs: of one step with each model: :func:`~windvane.compress.row_flops`, or measured seconds. Or a
            function that counts what a stitched denoiser takes, as
            :func:`~windvane.compress.measure_cost` does, where steps cannot be shared exactly.
        fractions: which to measure; by default the whole lattice of tenths.
    """
    if not callable(costs) and len(costs) != len(denoisers):
        raise ValueError(f"{len(denoisers)} models need as many costs, got {len(costs)}")
    chosen = lattice(len(denoisers)) if fractions is None else [tuple(map(float, f)) for f in fractions]
    points = []
    for shares in track(chosen, "stitching", total=len(chosen), enabled=progress):
        both = stitched(denoisers, shares, by=by)
        cost = costs(both) if callable(costs) else math.fsum(r * c for r, c in zip(shares, costs))
        points.append(Point(shares, float(cost), float(measure(both))))
    return Sweep(tuple(points))


def similarity(
    first: Denoiser, second: Denoiser, x: Tensor, times: Tensor, cond: Condition | None = None
) -> Tensor:
    """Cosine of the two models' predicted noise along a path, the mean over the batch, ``(steps,)``.

    ``x`` ``(steps, B, *)`` are the states of a trajectory at ``times`` ``(steps,)``, as
    ``sample(..., record=True)`` gives them. Near 1 the small model may answer.
    """
    means = []
    for x_t, t in zip(x, times):
        at = t.to(torch.float64).expand(len(x_t))
        noises = [eps_from_x0(d.process, x_t, d(x_t, at, cond), at) for d in (first, second)]
        means.append(cosine(*noises).mean())
    return torch.stack(means)
