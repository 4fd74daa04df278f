"""Routed denoisers: which of several models answers, by noise level, time or share of the steps.

One abstraction for trajectory stitching, for experts of noise ranges and for two-backbone samplers.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from windvane.conditions import Condition
from windvane.current_step import current_step
from windvane.denoiser import Denoiser, as_times
from windvane.evaluations import count_evaluations
from windvane.process import Process


class Route(Protocol):
    """(process, times ``(B,)``) -> the number of the model for each row, int64 ``(B,)``, noisiest first."""

    @property
    def models(self) -> int: ...

    def __call__(self, process: Process, times: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class ByNoiseLevel:
    """Model i answers where levels[i] <= sigma / alpha < levels[i - 1]; ``levels`` fall, one per switch."""

    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        if any(level < 0 for level in self.levels) or list(self.levels) != sorted(self.levels, reverse=True):
            raise ValueError(f"a route needs falling noise levels >= 0, got {self.levels}")

    @property
    def models(self) -> int:
        return len(self.levels) + 1

    def __call__(self, process: Process, times: Tensor) -> Tensor:
        return _passed(process.noise_level(times), self.levels)


@dataclass(frozen=True)
class _Shares:
    """Model i takes the share fractions[i] of something."""

    fractions: tuple[float, ...]

    def __post_init__(self) -> None:
        check_fractions(self.fractions)

    @property
    def models(self) -> int:
        return len(self.fractions)


@dataclass(frozen=True)
class ByTime(_Shares):
    """Model i takes the share fractions[i] of the times from t_max down to 0 (T-Stitch's code for DiT)."""

    def __call__(self, process: Process, times: Tensor) -> Tensor:
        return _passed(times, [process.t_max * (1 - share) for share in _switches(self.fractions)])


@dataclass(frozen=True)
class ByLogSNR(_Shares):
    """Model i takes the share fractions[i] of the log-SNR between t_max and t_min.

    Where alpha(t_max) = 0 the range begins at -10, as on the log-SNR grid.
    """

    def __call__(self, process: Process, times: Tensor) -> Tensor:
        ends = process.log_snr(torch.tensor([process.t_max, process.t_min], dtype=torch.float64)).tolist()
        first = ends[0] if math.isfinite(ends[0]) else -10.0
        at = [first + share * (ends[1] - first) for share in _switches(self.fractions)]
        return _passed(-process.log_snr(times), [-lmbda for lmbda in at])


@dataclass(frozen=True)
class BySteps(_Shares):
    """Model i takes the share fractions[i] of the steps, in integers computed once (T-Stitch's own clock).

    The first round(fractions[0] N) steps, and so on; all evaluations of a step are by its model, also those
    that a solver makes at the end of the step or keeps for the next one. Needs a sampling loop, or
    :func:`windvane.current_step.at_step` around each step.
    """

    def boundaries(self, steps: int) -> tuple[int, ...]:
        """The step at which each model after the first begins."""
        return tuple(round_half_up(share * steps) for share in _cumulative(self.fractions)[:-1])

    def __call__(self, process: Process, times: Tensor) -> Tensor:
        step = current_step()
        if step is None:
            raise ValueError(
                "a route by steps needs to know the step: sample through windvane.sample, enter "
                "windvane.current_step.at_step, or route by noise level, time or log-SNR"
            )
        number = sum(step[0] >= begin for begin in self.boundaries(step[1]))
        return torch.full((len(times),), number, dtype=torch.int64)


@dataclass
class RouteCount:
    """Network calls, and rows over all calls, of each model."""

    calls: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)


class Routed(Denoiser):
    """Several denoisers as one: at each call, and for each row, the one that ``route`` names.

    All must be of one process and one data shape; what they predict may differ. A whole batch at one time is
    one call of one model; rows at times of different models are split and put together again. Works inside
    :class:`~windvane.guidance.ClassifierFree` and around guided denoisers. Solvers keep their history across
    a switch, so predictions of two models mix for a step or two.

    Raises:
        ValueError: different processes or shapes; another number of models than the route has.
    """

    def __init__(self, denoisers: Sequence[Denoiser], route: Route) -> None:
        if len(denoisers) == 0 or len(denoisers) != route.models:
            raise ValueError(f"{route} is for {route.models} models, got {len(denoisers)}")
        first = denoisers[0]
        shapes = {d.shape for d in denoisers if d.shape is not None}
        for number, denoiser in enumerate(denoisers[1:], 1):
            if denoiser.process != first.process:
                raise ValueError(
                    f"models that share a trajectory need one process: model 0 has {first.process}, model "
                    f"{number} has {denoiser.process}"
                )
        if len(shapes) > 1:
            raise ValueError(f"models that share a trajectory need one data shape, got {sorted(shapes)}")
        super().__init__(first.process, next(iter(shapes), None))
        self.denoisers = nn.ModuleList(denoisers)
        self.route = route

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        times = as_times(t, len(x_t))
        numbers = self.route(self.process, times)
        used = numbers.unique().tolist()
        if len(used) <= 1:
            return self._answer(used[0] if used else 0, x_t, times, cond)
        parts, rows = [], []
        for number in used:
            of = (numbers == number).nonzero().flatten()
            there = of.to(x_t.device)
            parts.append(
                self._answer(number, x_t[there], times[of], None if cond is None else cond.index(of))
            )
            rows.append(there)
        return torch.cat(parts)[torch.cat(rows).argsort()]

    def _answer(self, number: int, x_t: Tensor, times: Tensor, cond: Condition | None) -> Tensor:
        with count_evaluations() as made:
            answer = self.denoisers[number](x_t, times, cond)
        for routed, count in _counts.get():
            if routed is self:
                count.calls[number] += made.calls
                count.rows[number] += made.rows
        return answer


_counts: ContextVar[tuple[tuple[Routed, RouteCount], ...]] = ContextVar("windvane_routes", default=())


@contextmanager
def count_routes(routed: Routed) -> Iterator[RouteCount]:
    """Count the evaluations of each model of ``routed`` inside the block."""
    count = RouteCount([0] * len(routed.denoisers), [0] * len(routed.denoisers))
    token = _counts.set((*_counts.get(), (routed, count)))
    try:
        yield count
    finally:
        _counts.reset(token)


def check_fractions(fractions: Sequence[float]) -> None:
    """Shares of a trajectory: at least one, none negative, with the sum 1."""
    if not fractions or any(not 0 <= f <= 1 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions must lie between 0 and 1 and add up to 1, got {tuple(fractions)}")


def round_half_up(value: float) -> int:
    """The nearest integer; halves, and what rounding made of them, go up."""
    return math.floor(value + 0.5 + 1e-9)


def _cumulative(fractions: Sequence[float]) -> list[float]:
    return [sum(fractions[: k + 1]) for k in range(len(fractions))]


def _switches(fractions: Sequence[float]) -> list[float]:
    """The share of the trajectory after which each model but the last ends.

    Where nothing came before, every time is behind the end, and where nothing follows, none is.
    """
    return [
        -math.inf if share < 1e-9 else math.inf if share > 1 - 1e-9 else share
        for share in _cumulative(fractions)[:-1]
    ]


def _passed(value: Tensor, thresholds: Sequence[float]) -> Tensor:
    """How many of the thresholds each value lies below, int64."""
    found = torch.zeros(value.shape, dtype=torch.int64)
    for threshold in thresholds:
        found += (value < threshold - 1e-12 * abs(threshold)) if math.isfinite(threshold) else threshold > 0
    return found
