"""What a sampler is, and what others may do with its state.

A sampler moves ``x`` from time t to time s with predictions of x0, and keeps whatever it needs between
steps in an explicit, immutable state. Nothing here loops: :mod:`windvane.samplers.loop` does.
"""

import dataclasses
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from windvane.arguments import real, shown
from windvane.conditions import Condition
from windvane.denoiser import Denoiser, checked_prediction
from windvane.process import Process

State = Any
S = TypeVar("S")


class Denoise(Protocol):
    """A denoiser with its condition bound: ``denoise(x, t) -> x0``, with ``t`` 0-dim or ``(B,)``."""

    @property
    def process(self) -> Process: ...

    def __call__(self, x: Tensor, t: Tensor) -> Tensor: ...


@runtime_checkable
class Sampler(Protocol):
    """One step of a solver, with explicit state.

    ``step`` takes ``x`` ``(B, *)`` at time ``t`` to time ``s`` (both 0-dim float64 CPU tensors) and returns
    the new ``x`` and state; ``noise`` ``(B, *)`` is standard normal and needed if ``stochastic``.
    Deterministic samplers also run upwards (s > t), from any t with sigma(t) > 0. Samplers whose step
    draws from a Gaussian given ``x`` also have ``transition(denoise, x, t, s, state) -> (mean, std,
    state)``, differentiable, with ``step = mean + std * noise``. A class attribute
    ``prefers_log_snr = True`` asks for a log-SNR grid where none is given; ``needs_log_snr = True`` does so
    on the rectified flow, too. The loop calls ``finished()``, where there is one, after the last batch.
    """

    @property
    def stochastic(self) -> bool: ...

    def init(self, x: Tensor, times: Tensor) -> State: ...

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: State, noise: Tensor | None = None
    ) -> tuple[Tensor, State]: ...


class BoundDenoiser:
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
        times = t.expand(x.shape[0]) if t.ndim == 0 else t
        # Without a condition the argument is left out: a plain function of (x, t) is a denoiser too.
        x0 = self.denoiser(x, times) if self.cond is None else self.denoiser(x, times, self.cond)
        if not self._checked:
            x0 = checked_prediction(x0, x, self.denoiser)
        if x0.dtype != x.dtype:
            x0 = x0.to(x.dtype)
        if self.clip is not None:
            x0 = x0.clamp(*self.clip)
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
