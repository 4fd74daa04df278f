"""The steps of one micro-batch: callbacks, noise, recording and the check for finite values."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from windvane.arguments import shown
from windvane.current_step import LoopStep
from windvane.finite import extremes
from windvane.randomness import STREAM_PRIOR, StepNoise
from windvane.samplers.base import BoundDenoiser, Sampler, State, moved


class StopSampling(Exception):
    """Raised by a callback to end its micro-batch here; the current x is the result."""


@dataclass(frozen=True)
class StepInfo:
    """What callbacks see of step ``index`` of ``steps``, from time ``t`` to ``s``.

    Args:
        x: ``(B, *)``, before the step in ``before_step``, after it in ``after_step``.
        x0: the latest prediction of x0 ``(B, *)`` (Heun's and UniPC's is at s); None before the first.
        state: the sampler's state, before or after the step like ``x``.
        seeds: ``(B,)`` seeds of the rows: which samples of the call these are.
    """

    index: int
    steps: int
    t: Tensor
    s: Tensor
    x: Tensor
    x0: Tensor | None
    state: State
    seeds: Tensor


Callback = Callable[[StepInfo], Tensor | None]


@dataclass(frozen=True)
class Trajectory:
    """States ``x`` ``(steps + 1, n, *)`` and predictions ``x0`` ``(steps, n, *)``, on the CPU."""

    x: Tensor
    x0: Tensor


@dataclass(frozen=True)
class Run:
    """The steps of one micro-batch."""

    sampler: Sampler
    times: Tensor
    before_step: Callback | None
    after_step: Callback | None
    record: bool
    check_finite: bool

    def __call__(
        self, denoise: BoundDenoiser, x: Tensor, seeds: Tensor, ticks: Iterator[int]
    ) -> tuple[Tensor, Trajectory | None]:
        sampler, steps = self.sampler, len(self.times) - 1
        state = sampler.init(x, self.times)
        drawn = StepNoise(seeds, STREAM_PRIOR + 1, steps, x)
        states, predictions = [_on_cpu(x)] if self.record else [], []
        found: list[Tensor] = []
        times = self.times.unbind()
        for k in range(steps):
            next(ticks, None)
            t, s = times[k], times[k + 1]
            if self.before_step is not None:
                info = StepInfo(k, steps, t, s, x, denoise.latest, state, seeds)
                x, state, stop = _called(self.before_step, info)
                if stop:
                    break
            noise = drawn(k) if sampler.stochastic else None
            with LoopStep(k, steps):
                x, state = sampler.step(denoise, x, t, s, state, noise)
            stop = False
            if self.after_step is not None:
                info = StepInfo(k, steps, t, s, x, denoise.latest, state, seeds)
                x, state, stop = _called(self.after_step, info)
            if self.record:
                states.append(_on_cpu(x))
                predictions.append(_on_cpu(x if denoise.latest is None else denoise.latest))
            if self.check_finite:
                found.extend(extremes(x))
            if stop:
                break
        self._refuse_non_finite(found, denoise, x, seeds)
        if not self.record:
            return x, None
        held = torch.stack(predictions) if predictions else states[0].new_empty((0, *x.shape))
        return x, Trajectory(torch.stack(states), held)

    def _refuse_non_finite(
        self, found: list[Tensor], denoise: BoundDenoiser, x: Tensor, seeds: Tensor
    ) -> None:
        """One synchronisation for the whole run: the steps' extreme values are looked at here, at its end."""
        ends = torch.stack(found).tolist() if found else []
        bad = [number // 2 for number, end in enumerate(ends) if not math.isfinite(end)]
        if not bad:
            return
        t, s = self.times[bad[0]], self.times[bad[0] + 1]
        level = float(denoise.process.noise_level(t))
        rows = ~torch.isfinite(x.detach()).flatten(1).all(1).cpu()
        raise FloatingPointError(
            f"{self.sampler} made values that are not finite in step {bad[0]} of {len(self.times) - 1}, "
            f"from t={float(t):.6g} (noise level {level:.4g}) to s={float(s):.6g}. "
            f"At the end {int(rows.sum())} of {len(rows)} samples are affected, with seeds "
            f"{seeds[rows][:4].tolist()}. Check the denoiser there, lower the guidance weight or pass clip=."
        )


def _called(callback: Callback, info: StepInfo) -> tuple[Tensor, State, bool]:
    """x and state after a callback, and whether it asked to stop."""
    try:
        new = callback(info)
    except StopSampling:
        return info.x, info.state, True
    if new is None:
        return info.x, info.state, False
    if not isinstance(new, Tensor):
        raise ValueError(f"a callback returns a tensor to replace x, or None, got {shown(new)}")
    if new.shape != info.x.shape:
        received, needed = tuple(new.shape), tuple(info.x.shape)
        raise ValueError(f"a callback returned shape {received} to replace x of shape {needed}")
    return new.to(info.x), moved(info.state), False


def _on_cpu(x: Tensor) -> Tensor:
    return x.detach().to("cpu")
