"""The chain that a search runs: a denoiser, a sampler and its times, in parts and on chosen rows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from windvane.conditions import Condition
from windvane.current_step import at_step
from windvane.denoiser import checked_prediction
from windvane.evaluations import count_evaluations
from windvane.process import Process, require_gaussian
from windvane.randomness import STREAM_PRIOR, noise_for
from windvane.samplers import DDIM, BoundDenoiser, Sampler
from windvane.samplers.names import as_sampler
from windvane.samplers.plan import Grid, resolve_device, resolve_shape, resolve_times
from windvane.search.step_costs import rehearsed, require_left


class Chain:
    """A generative chain x_0 = noise, ..., x_N = sample that can be run from any step to any other.

    A sample depends on its noise, its seed and its condition alone: with the same seed, the whole chain gives
    what :func:`windvane.sample` gives, at any ``batch_size``. Times, noise and clipping are the same too.

    Args:
        denoiser: plain, guided or routed.
        sampler: for search over noises any; for trees and particles one that adds noise, see
            :meth:`require_transitions`.
        cond: None, one row for all samples, or one row for each of the n searches of a run.
        batch_size: rows at a time.

    ``costs[k]`` is the number of network rows that step k takes per sample, known once the step was made.
    Within a limit of :func:`~windvane.evaluations.count_evaluations`, steps that it does not pay for are not
    begun.
    """

    def __init__(
        self,
        denoiser: Any,
        *,
        sampler: Sampler | str = DDIM(),  # noqa: B008 (frozen)
        steps: int = 50,
        grid: Grid | Tensor | str | None = None,
        cond: Condition | None = None,
        shape: Sequence[int] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        clip: float | tuple[float, float] | None = None,
        batch_size: int = 64,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.denoiser = denoiser
        self.process: Process = denoiser.process
        self.sampler = as_sampler(sampler)
        self.shape = resolve_shape(denoiser, shape, None)
        self.times = resolve_times(self.process, self.sampler, grid, steps, None)
        self.device = resolve_device(denoiser, device)
        self.dtype = dtype
        self.cond = None if cond is None else cond.to(self.device)
        self.clip = clip
        self.batch_size = batch_size
        self.costs: list[float | None] = [None] * self.steps

    @property
    def steps(self) -> int:
        return len(self.times) - 1

    @cached_property
    def calls(self) -> tuple[int, ...]:
        """How often the solver asks the denoiser in each step."""
        return rehearsed(self.sampler, self.process, self.times, self.shape)

    @property
    def per_call(self) -> float | None:
        """The most network rows that a call has taken per sample (guidance may take two), None before any."""
        pairs = zip(self.costs, self.calls)
        return max((cost / max(calls, 1) for cost, calls in pairs if cost is not None), default=None)

    def cost(self, first: int = 0, last: int | None = None, *, per_call: float | None = None) -> float:
        """Network rows per sample of the steps ``first`` to ``last``.

        A step that was not made yet counts its calls, each at the most rows that one has taken, or before any
        was made at ``per_call``, by default 1, the least it can take.
        """
        each = self.per_call or per_call or 1.0
        steps = list(zip(self.costs, self.calls))[first:last]
        return sum(calls * each if cost is None else cost for cost, calls in steps)

    def solve_cost(self, times: Tensor, first: int = 0) -> float:
        """Network rows per sample of :meth:`solve` over ``times``, from step ``first`` on."""
        calls = rehearsed(self.sampler, self.process, times, self.shape)
        return sum(calls[first:]) * (self.per_call or 1.0)

    def condition(self, rows: Tensor) -> Condition | None:
        """The condition of the searches ``rows``."""
        if self.cond is None or len(self.cond) == 1:
            return self.cond and self.cond.index(torch.zeros_like(rows))
        return self.cond.index(rows)

    def check_searches(self, n: int) -> None:
        """Refuse a condition that has neither one row nor one for each search."""
        if self.cond is not None and len(self.cond) not in (1, n):
            raise ValueError(
                f"the chain's condition has {len(self.cond)} rows for {n} searches; give 1 or {n}"
            )

    def noise(self, seeds: Sequence[int] | Tensor) -> Tensor:
        """The starting noise of each seed, ``(B, *shape)`` on the CPU, by the process's own law."""
        return self.process.law.draw(seeds, STREAM_PRIOR, self.shape, dtype=self.dtype)

    def start(self, noise: Tensor) -> Tensor:
        """The state at the first time."""
        return self.process.prior(noise.to(self.device, self.dtype), self.times[0])

    def bound(self, rows: Tensor) -> BoundDenoiser:
        """The denoiser with the condition of the searches ``rows``; it takes micro-batches by itself."""
        denoiser = self.denoiser
        if len(rows) > self.batch_size:
            denoiser = InParts(denoiser, self.batch_size)
        return BoundDenoiser(denoiser, self.condition(rows), self.clip)

    def chunks(self, rows: int) -> list[slice]:
        """The rows of each micro-batch."""
        return [slice(first, first + self.batch_size) for first in range(0, rows, self.batch_size)]

    def run(
        self,
        x: Tensor,
        seeds: Sequence[int],
        *,
        first: int = 0,
        last: int | None = None,
        rows: Tensor | None = None,
        until: int | None = None,
    ) -> Tensor:
        """Steps ``first`` to ``last`` of the chain; row i's noise is keyed by (seeds[i], step).

        ``until`` is the step to which the samples shall come later: a limit must pay for them so far.
        """
        index = range(first, self.steps if last is None else last)
        end, left = until or index.stop, len(x)
        rows = torch.zeros(len(x), dtype=torch.int64) if rows is None else rows
        parts = [x[:0]]
        with quiet(self.denoiser):
            for chunk in self.chunks(len(x)):
                denoise, part = self.bound(rows[chunk]), x[chunk]
                left -= len(part)
                state = self.sampler.init(part, self.times)
                for k in index:
                    noise = None
                    if self.sampler.stochastic:
                        noise = self.step_noise(seeds[chunk], k)
                    with at_step(k, self.steps), count_evaluations() as made:
                        part, state = self.sampler.step(
                            denoise, part, self.times[k], self.times[k + 1], state, noise
                        )
                    if self.learned(k, made.rows / len(part)):
                        require_left(len(part) * self.cost(k + 1, end) + left * self.cost(first, end))
                parts.append(part)
        return self.finite(torch.cat(parts), f"the steps {index.start} to {index.stop} of {self.steps}")

    def learned(self, k: int, cost: float) -> bool:
        """Note what step k has cost; whether that is more than was thought."""
        thought = 0.0 if self.per_call is None else self.cost(k, k + 1)
        self.costs[k] = cost
        return cost > thought

    def solve(self, x: Tensor, times: Tensor, seeds: Sequence[int], rows: Tensor) -> Tensor:
        """The sampler over any falling ``times`` from x at times[0], with fresh noise keyed by the seeds."""
        parts = [x[:0]]
        with quiet(self.denoiser):
            for chunk in self.chunks(len(x)):
                denoise, part = self.bound(rows[chunk]), x[chunk]
                state = self.sampler.init(part, times)
                for k in range(len(times) - 1):
                    noise = self.step_noise(seeds[chunk], k) if self.sampler.stochastic else None
                    at = self.step_at(times[k])
                    with at_step(at, self.steps), count_evaluations() as made:
                        part, state = self.sampler.step(denoise, part, times[k], times[k + 1], state, noise)
                    if self.learned(at, made.rows / len(part)):
                        require_left(len(part) * self.solve_cost(times, k + 1))
                parts.append(part)
        return self.finite(torch.cat(parts), f"the solve from t={float(times[0]):.6g}")

    def predict(self, x: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        """The denoiser's prediction of x0 from x at time t, clipped as in sampling."""
        with quiet(self.denoiser), at_step(self.step_at(t), self.steps):
            return self.bound(rows)(x, t)

    def step_at(self, t: Tensor) -> int:
        """The number of the step that starts at t, or within which t lies."""
        at_or_above = int((self.times >= t * (1 - 1e-12)).sum())
        return min(max(at_or_above - 1, 0), self.steps - 1)

    def step_noise(self, seeds: Sequence[int], k: int) -> Tensor:
        """The noise of step k, as in :func:`windvane.sample`."""
        return noise_for(seeds, STREAM_PRIOR + k + 1, self.shape, dtype=self.dtype).to(self.device)

    def finite(self, x: Tensor, where: str) -> Tensor:
        """``x``, or an error if it is not finite."""
        bad = ~torch.isfinite(x).flatten(1).all(1)
        if bool(bad.any()):
            raise FloatingPointError(
                f"{self.sampler} made values that are not finite in {where}, in {int(bad.sum())} of {len(x)} "
                "rows; check the denoiser, lower the guidance weight or pass clip="
            )
        return x

    def require_transitions(self, what: str, *, memoryless: bool) -> None:
        """Refuse, with the reason, a chain that has no Gaussian transitions to branch or to weigh.

        Raises:
            ValueError: a process whose noise is not Gaussian, a sampler that adds no noise, one whose step is
                not Gaussian given x, and, where ``memoryless``, one that keeps predictions between steps.
        """
        require_gaussian(self.process, what)
        if not self.sampler.stochastic:
            raise ValueError(
                f"{what} branches by the noise that a step adds, and {self.sampler} adds none: take DDPM() "
                "or DDIM(eta=1.0), or search over the starting noises instead"
            )
        if not self.sampler.traits.gaussian:
            raise ValueError(
                f"{what} needs steps that are Gaussian given x, and {self.sampler} has no transition(); take "
                "DDPM() or DDIM(eta=1.0)"
            )
        if memoryless and self.sampler.traits.memory:
            raise ValueError(
                f"{what} starts again from stored states, and {self.sampler} needs the predictions of "
                "earlier steps, which are not stored; take DDPM(), DDIM(eta=1.0) or DPMSolverSDE(order=1)"
            )


@dataclass(frozen=True)
class Replay:
    """A denoiser that answers with a prediction made before, so that a step costs nothing more."""

    process: Process
    x0: Tensor

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return self.x0


class InParts:
    """A denoiser that is asked about no more than ``size`` rows at a time."""

    def __init__(self, denoiser: Any, size: int) -> None:
        self.denoiser, self.size = denoiser, size
        self.process: Process = denoiser.process

    def __call__(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        parts = []
        for first in range(0, len(x), self.size):
            rows = slice(first, first + self.size)
            # Without a condition the argument is left out, as the loop does.
            given = () if cond is None else (cond.index(rows),)
            parts.append(checked_prediction(self.denoiser(x[rows], t[rows], *given), x[rows], self.denoiser))
        return torch.cat(parts)


@contextmanager
def quiet(denoiser: Any) -> Iterator[None]:
    """No gradients, and every module that trains in evaluation mode; both as before afterwards."""
    training = [m for m in denoiser.modules() if m.training] if isinstance(denoiser, nn.Module) else []
    for module in training:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
