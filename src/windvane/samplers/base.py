"""What a sampler is, and what others may do with its state.

A sampler moves ``x`` from time t to time s with predictions of x0, and keeps whatever it needs between
steps in an explicit, immutable state. Nothing here loops: :mod:`windvane.samplers.loop` does.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from windvane.arguments import real, shown
from windvane.conditions import Condition
from windvane.denoiser import Denoiser, checked_prediction
from windvane.process import Process

State = Any
Grid = Callable[[Process, int], Tensor]
S = TypeVar("S")


class Denoise(Protocol):
    """A denoiser with its condition bound: ``denoise(x, t) -> x0``, with ``t`` 0-dim or ``(B,)``."""

    @property
    def process(self) -> Process: ...

    def __call__(self, x: Tensor, t: Tensor) -> Tensor: ...


class Bound:
    """What has a condition bound to it: the loop's denoiser, and what guidance puts in front of it."""

    cond: Condition | None


def condition_of(denoise: Denoise) -> Condition | None:
    """The condition that is bound to a denoiser; a bare one has none."""
    return denoise.cond if isinstance(denoise, Bound) else None


@dataclasses.dataclass(frozen=True)
class Traits:
    """What a sampler declares of itself; the loop, guidance, searches and the shared tests read it.

    Args:
        stochastic: ``step`` needs noise.
        gaussian: given ``x``, a step draws from a Gaussian (a point where it is not stochastic), and
            ``transition`` has its mean and standard deviation.
        grid: the registered name of the grid that suits the sampler; None takes the
            process's usual one. The rectified flow has its own all the same.
        needs_grid: ``grid`` also on the rectified flow, and again even below a start.
        memory: steps use predictions of earlier ones, so that a state belongs to its trajectory.
        evaluations: of the network in every step above sigma = 0; None where nothing is promised. A step to
            sigma = 0 makes one.
        guided: steps look at the denoiser's gradient or condition: a prediction that was made before cannot
            stand for it.
    """

    stochastic: bool = False
    gaussian: bool = False
    grid: str | None = None
    needs_grid: bool = False
    memory: bool = False
    evaluations: int | None = 1
    guided: bool = False


class Sampler(ABC):
    """One step of a solver, with explicit state.

    The rules, which tests hold every registered sampler to:

    - a step to sigma_s = 0 returns D(x, t), the prediction of x0 at the time that it starts from;
    - a run makes as many evaluations as :meth:`evaluations` says;
    - nothing is kept in the sampler: what a step leaves for the next is the state, never changed in place,
      whose tensors have the batch first (:func:`index_state`);
    - noise is given, never drawn; no row depends on another;
    - deterministic samplers also run upwards (s > t), from any t with sigma(t) > 0.
    """

    #: What holds for every sampler of the class; where it depends on settings, a property.
    traits: Traits
    #: Times ``(steps + 1,)`` of (process, steps), for a sampler that brings its own.
    own_grid: Grid | None = None

    @cached_property
    def stochastic(self) -> bool:
        """Whether ``step`` needs noise."""
        return self.traits.stochastic

    @abstractmethod
    def init(self, x: Tensor, times: Tensor) -> State:
        """The state before the first step from ``x`` ``(B, *)`` on the grid ``times`` ``(steps + 1,)``."""

    @abstractmethod
    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: State, noise: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """``x`` ``(B, *)`` taken from time ``t`` to ``s`` (0-dim float64 on the CPU), and the state after it.

        ``noise`` ``(B, *)`` is standard normal, and needed where the sampler is stochastic.
        """

    def transition(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        """Mean ``(B, *)`` and standard deviation of x_s given x_t, so that ``step = mean + std * noise``.

        Differentiable; the standard deviation broadcasts against the mean, and does not depend on ``x``.

        Raises:
            ValueError: a sampler whose traits are not ``gaussian``.
        """
        raise ValueError(f"{self} has no Gaussian transition")

    def evaluations(self, process: Process, times: Tensor) -> int | None:
        """Evaluations of the network in all steps of the grid ``times``; None where nothing is promised."""
        each, to_zero = self.traits.evaluations, int(float(process.sigma(times[-1])) == 0)
        return None if each is None else each * (len(times) - 1 - to_zero) + to_zero

    def finished(self) -> None:  # noqa: B027 (most have nothing to do)
        """Called by the loop after the last batch: where guidance says what of it had no effect."""


class BoundDenoiser(Bound):
    """Binds a condition and a clipping range to a denoiser, and remembers the latest prediction.

    Args:
        denoiser: ``(x, t (B,), cond) -> x0`` with a ``process``.
        cond: None, or a condition with as many rows as ``x``.
        clip: None, a bound c for [-c, c], or (low, high). Predictions are clamped before a sampler sees
            them, so the noise estimate is recomputed from the clamped x0.
    """

    def __init__(
        self, denoiser: Any, cond: Condition | None = None, clip: float | tuple[float, float] | None = None
    ) -> None:
        self.denoiser = denoiser
        self.process: Process = denoiser.process
        self.cond = cond
        self.clip = clip_range(clip)
        self._checked = isinstance(denoiser, Denoiser)  # which looks at its predictions itself
        self.latest: Tensor | None = None

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        x0 = self.predict(x, t.expand(x.shape[0]) if t.ndim == 0 else t, self.cond)
        if self.clip is not None:
            x0 = x0.clamp(*self.clip)
        self.latest = x0
        return x0

    def predict(self, x: Tensor, times: Tensor, cond: Condition | None) -> Tensor:
        """The denoiser's own prediction at ``times`` ``(B,)`` under another condition, unclipped."""
        # Without a condition the argument is left out: a plain function of (x, t) is a denoiser too.
        x0 = self.denoiser(x, times) if cond is None else self.denoiser(x, times, cond)
        if not self._checked:
            x0 = checked_prediction(x0, x, self.denoiser)
        return x0 if x0.dtype == x.dtype else x0.to(x.dtype)

    def show(self, x0: Tensor) -> Tensor:
        """Let callbacks and recordings see ``x0`` as the latest prediction: what guides have made of it."""
        self.latest = x0
        return x0


def clip_range(clip: float | tuple[float, float] | None) -> tuple[float, float] | None:
    """The range (low, high) that ``clip`` stands for; None is no clipping."""
    if clip is None:
        return None
    pair = (tuple, list, np.ndarray, Tensor)
    ends: Any = clip if isinstance(clip, pair) and np.ndim(clip) else (clip, clip)  # type: ignore[arg-type]
    if len(ends) == 2:
        low, high = (real(end, "clip, a bound or a pair (low, high),", finite=False) for end in ends)
        low = low if ends is clip else -low
    if len(ends) != 2 or not low < high:
        raise ValueError(
            f"clip needs a positive bound or a pair (low, high) with low < high, got {shown(clip)}"
        )
    return low, high


def index_state(state: S, rows: Tensor | slice) -> S:
    """The state of the chosen rows; with repeated or permuted rows, of copied or permuted particles.

    Walks tuples, named tuples, lists, dicts and dataclasses. The rule every state keeps: a tensor with at
    least one dimension has the batch first and is indexed; 0-dim tensors, numbers and anything else
    belong to all rows and stay. States are never changed in place, so rows may be shared freely.
    """
    if isinstance(state, Tensor):
        return state[rows] if state.ndim else state  # type: ignore[return-value]
    if dataclasses.is_dataclass(state) and not isinstance(state, type):
        fields = (f.name for f in dataclasses.fields(state))
        return dataclasses.replace(state, **{k: index_state(getattr(state, k), rows) for k in fields})
    if isinstance(state, tuple):
        parts = [index_state(part, rows) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)  # type: ignore[return-value]
    if isinstance(state, list):
        return [index_state(part, rows) for part in state]  # type: ignore[return-value]
    if isinstance(state, dict):
        return {key: index_state(part, rows) for key, part in state.items()}  # type: ignore[return-value]
    return state


def moved(state: S) -> S:
    """The state to go on with after ``x`` was changed from outside (a callback, a projection, noise).

    A state that caches a prediction for the old ``x`` drops it through its own method ``moved()``; the
    next step then makes one more evaluation. Other states are returned as they are.
    """
    drop = getattr(state, "moved", None)
    return state if drop is None else drop()


def restarted(state: S) -> S:
    """The state to go on with from an ``x`` that no longer lies on the trajectory so far (after renoising).

    A multistep solver's predictions belong to the trajectory that they were made on: those of another one
    differ by its noise, which extrapolation multiplies. A state that keeps some drops them through its own
    method ``restarted()``; the order then grows again from 1. Other states are returned as they are.
    """
    drop = getattr(state, "restarted", None)
    return state if drop is None else drop()


def require_noise(noise: Tensor | None, sampler: object) -> Tensor:
    """The noise of a stochastic step, or an error that says it is missing."""
    if noise is None:
        raise ValueError(f"{sampler} is stochastic: pass standard normal noise of x's shape to step()")
    return noise


def is_zero(coefficient: Tensor) -> bool:
    """Whether a CPU coefficient, 0-dim or ``(B,)``, is zero in every row."""
    return not bool(torch.count_nonzero(coefficient))
