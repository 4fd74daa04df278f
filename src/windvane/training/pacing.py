"""How long a training will take on this machine, from a few measured steps; and one that fits a time."""

import copy
import hashlib
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from windvane.denoiser import Denoiser
from windvane.training.batches import Conditions, TrainingData
from windvane.training.loop import train

_MEASURED, _WARM = 4, 1
#: Of a time that is given, grids and saved states may each take so much; the steps get the rest.
_GRIDS, _STATES = 0.15, 0.1
_MOST_GRIDS, _MOST_STATES = 8, 4
#: Measuring ends after this share of a time that is given.
_MEASURING = 0.1
#: When the first pictures should be there.
_FIRST_PICTURES, _SHORT = 120, 20
#: Copies of the weights in a saved state (raw, averaged, two moments) and in the model beside it.
_COPIES = 6


class TrainingLength(Protocol):
    """What of a training depends on how long it is; ``ema`` is the decay of the average."""

    @property
    def steps(self) -> int: ...
    @property
    def warmup(self) -> int: ...
    @property
    def ema(self) -> float: ...
    @property
    def log_every(self) -> int: ...
    @property
    def sample_every(self) -> int: ...
    @property
    def checkpoint_every(self) -> int: ...


@dataclass(frozen=True)
class Costs:
    """Seconds of one step, of one grid of samples, and of one saved state with the model."""

    step: float
    grid: float = 0.0
    state: float = 0.0

    def whole(self, length: TrainingLength, *, done: int = 0) -> float:
        """Seconds of a training of which ``done`` steps are over."""
        every, steps = length.sample_every, length.steps
        grids = steps // every - done // every if every else 0
        early = int(every > 0 and first_pictures(length, self) < min(every, steps) and not done)
        states = math.ceil(steps / length.checkpoint_every) - done // length.checkpoint_every
        return (steps - done) * self.step + (grids + early) * self.grid + states * self.state


def measured(
    denoiser: Denoiser,
    data: TrainingData,
    conditions: Conditions | None,
    options: Mapping[str, Any],
    *,
    folder: Path,
    grid: Callable[[Denoiser], float] | None = None,
    grid_rows: int = 0,
    limit: float = math.inf,
) -> Costs:
    """What steps, grids and states cost, by training a copy for a few steps; the denoiser stays as it is.

    Args:
        options: of :func:`~windvane.train`.
        folder: where states will be written; nothing is left there.
        grid: the seconds of a grid of samples, by drawing a part of one; or None.
        grid_rows: pictures that the network sees for a grid, at least.
        limit: in seconds; with one it makes do with fewer steps.
    """
    begin = time.monotonic()
    copied = copy.deepcopy(denoiser)
    step = _seconds_per_step(copied, data, conditions, options, end=begin + limit)
    seconds = 0.0
    if grid is not None:
        # A pass forwards is a third of a step, at least; a grid that does not fit is not timed either.
        seconds = grid_rows / (3 * options["batch_size"]) * step
        if seconds < _GRIDS * limit / _MEASURING:
            seconds = grid(copied)
    return Costs(step, seconds, _seconds_per_state(copied, folder))


def _seconds_per_step(
    copied: Denoiser,
    data: TrainingData,
    conditions: Conditions | None,
    options: Mapping[str, Any],
    *,
    end: float,
) -> float:
    stamps: list[float] = []

    def stamp(snapshot: Any) -> None:
        stamps.append(time.perf_counter())

    def replan(done: int) -> int:
        return done if done > _WARM and time.monotonic() > end else _WARM + _MEASURED

    alike = ("batch_size", "accumulate", "mixed_precision", "ema_decay", "flip")
    train(
        copied,
        data,
        conditions=conditions,
        steps=_WARM + _MEASURED,
        log_every=1,
        callbacks=[stamp],
        replan=replan,
        progress=False,
        **{name: options[name] for name in alike if name in options},
    )
    return (stamps[-1] - stamps[_WARM - 1]) / (len(stamps) - _WARM)


def _seconds_per_state(denoiser: Denoiser, folder: Path) -> float:
    """By writing the weights once where the states will be, without leaving anything there."""
    begin = time.perf_counter()
    with tempfile.TemporaryFile(dir=folder) as file:
        torch.save(denoiser.state_dict(), file)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        hashlib.file_digest(file, "sha256")
    return _COPIES * (time.perf_counter() - begin)


def fitted(length: TrainingLength, costs: Costs, seconds: float) -> dict[str, Any]:
    """What changes of the schedule: as many steps as fit ``seconds``, and all that follows from their number.

    The rise of the learning rate stays the same share of the training, and so does the time over which
    weights are averaged. Up to eight grids and four states are made, fewer where they would take the time
    that is meant for steps.
    """
    seconds -= costs.state  # after the last step
    grids = min(_MOST_GRIDS, int(_GRIDS * seconds / costs.grid)) if costs.grid else _MOST_GRIDS
    states = min(_MOST_STATES, int(_STATES * seconds / costs.state)) if costs.state else _MOST_STATES
    left = seconds - max(0, grids) * costs.grid - max(0, states - 1) * costs.state
    steps = max(1, math.floor(left / costs.step))
    scale = steps / length.steps
    warmup = min(length.warmup, max(1, round(length.warmup * scale))) if length.warmup else 0
    ema = max(0.0, 1 - (1 - length.ema) / scale) if scale < 1 else length.ema
    apart = _apart(steps, grids, costs.step) if grids > 0 else 0
    return {
        "steps": steps,
        "warmup": warmup,
        "ema": ema,
        "log_every": min(length.log_every, max(1, steps // 20)),
        "sample_every": min(length.sample_every, apart),
        "checkpoint_every": min(length.checkpoint_every, math.ceil(steps / max(1, states))),
    }


def _apart(steps: int, grids: int, each: float) -> int:
    """The steps between so many grids, one of which is the first one if it comes early."""
    apart = math.ceil(steps / grids)
    if apart * each <= min(_FIRST_PICTURES, steps * each / 2):
        return apart
    return math.ceil(steps / (grids - 1)) if grids > 1 else 2 * steps


def measuring_limit(seconds: float) -> float:
    """How much of a given time may be spent on measuring."""
    return _MEASURING * max(0.0, seconds)


def first_pictures(length: TrainingLength, costs: Costs) -> int:
    """The step after which the first grid is drawn: two minutes, or the usual one if that comes sooner."""
    lines = min(_early(length, costs) / costs.step, length.sample_every) / length.log_every
    return min(length.sample_every, math.ceil(lines) * length.log_every)


def _early(length: TrainingLength, costs: Costs) -> float:
    whole = length.steps * costs.step
    # Of a short training in the middle: pictures of the first steps show noise. Of a very short one never.
    return min(_FIRST_PICTURES, whole / 2) if whole >= _SHORT else math.inf
