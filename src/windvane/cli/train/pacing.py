"""How long a training will take on this machine, from a few measured steps; and one that fits a time."""

import copy
import math
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windvane.cli.common.sections.train import TrainSection
from windvane.progress import duration

if TYPE_CHECKING:
    from windvane.cli.train.sample_grids import SampleGrids
    from windvane.denoiser import Denoiser
    from windvane.runs import Run
    from windvane.training.batches import Conditions, TrainingData

_MEASURED, _WARM = 4, 1
#: Shorter trainings are done before a measurement tells anything.
LEAST_STEPS = 200
_LONG = 3600
#: Of a time that is given, grids and saved states may each take so much; the steps get the rest.
_GRIDS, _STATES = 0.15, 0.1
_MOST_GRIDS, _MOST_STATES = 8, 4
#: Measuring ends after this share of a time that is given.
_MEASURING = 0.1
#: When the first pictures should be there.
_FIRST_PICTURES, _SHORT = 120, 20
#: Copies of the weights in a saved state (raw, averaged, two moments) and in the model beside it.
_COPIES = 6


@dataclass(frozen=True)
class Costs:
    """Seconds of one step, of one grid of samples, and of one saved state with the model."""

    step: float
    grid: float = 0.0
    state: float = 0.0

    def whole(self, section: TrainSection, *, done: int = 0) -> float:
        """Seconds of a training of which ``done`` steps are over."""
        every, steps = section.sample_every, section.steps
        grids = steps // every - done // every if every else 0
        early = int(every > 0 and first_pictures(section, self) < min(every, steps) and not done)
        states = math.ceil(steps / section.checkpoint_every) - done // section.checkpoint_every
        return (steps - done) * self.step + (grids + early) * self.grid + states * self.state


def measured(
    denoiser: "Denoiser",
    data: "TrainingData",
    conditions: "Conditions | None",
    section: TrainSection,
    *,
    grids: "SampleGrids | None",
    run: "Run",
    limit: float = math.inf,
) -> Costs:
    """What steps, grids and states cost, by training a copy for a few steps; the denoiser stays as it is.

    With a ``limit`` in seconds it makes do with fewer steps.
    """
    begin = time.monotonic()
    copied = copy.deepcopy(denoiser)
    step = _seconds_per_step(copied, data, conditions, section, end=begin + limit)
    grid = 0.0
    if grids is not None and section.sample_every:
        # A pass forwards is a third of a step, at least; a grid that does not fit is not timed either.
        grid = grids.rows / (3 * section.batch_size) * step
        if grid < _GRIDS * limit / _MEASURING:
            grid = grids.timed(copied)
    return Costs(step, grid, _seconds_per_state(copied, run))


def _seconds_per_step(
    copied: "Denoiser",
    data: "TrainingData",
    conditions: "Conditions | None",
    section: TrainSection,
    *,
    end: float,
) -> float:
    from windvane.training import train

    stamps: list[float] = []

    def stamp(snapshot: Any) -> None:
        stamps.append(time.perf_counter())

    def replan(done: int) -> int:
        return done if done > _WARM and time.monotonic() > end else _WARM + _MEASURED

    train(
        copied,
        data,
        conditions=conditions,
        steps=_WARM + _MEASURED,
        batch_size=section.batch_size,
        accumulate=section.accumulate,
        mixed_precision=section.precision,
        ema_decay=section.ema,
        flip=section.flip,
        log_every=1,
        callbacks=[stamp],
        replan=replan,
        progress=False,
    )
    return (stamps[-1] - stamps[_WARM - 1]) / (len(stamps) - _WARM)


def _seconds_per_state(denoiser: "Denoiser", run: "Run") -> float:
    """By writing the weights once where the states will be, without leaving anything there."""
    import hashlib
    import os

    import torch

    begin = time.perf_counter()
    with tempfile.TemporaryFile(dir=run.path) as file:
        torch.save(denoiser.state_dict(), file)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        hashlib.file_digest(file, "sha256")
    return _COPIES * (time.perf_counter() - begin)


def fitted(section: TrainSection, costs: Costs, seconds: float) -> TrainSection:
    """The section with as many steps as fit ``seconds``, and all that follows from their number.

    The rise of the learning rate stays the same share of the training, and so does the time over which
    weights are averaged. Up to eight grids and four states are made, fewer where they would take the time
    that is meant for steps.
    """
    seconds -= costs.state  # after the last step
    grids = min(_MOST_GRIDS, int(_GRIDS * seconds / costs.grid)) if costs.grid else _MOST_GRIDS
    states = min(_MOST_STATES, int(_STATES * seconds / costs.state)) if costs.state else _MOST_STATES
    left = seconds - max(0, grids) * costs.grid - max(0, states - 1) * costs.state
    steps = max(1, math.floor(left / costs.step))
    scale = steps / section.steps
    warmup = min(section.warmup, max(1, round(section.warmup * scale))) if section.warmup else 0
    ema = max(0.0, 1 - (1 - section.ema) / scale) if scale < 1 else section.ema
    apart = _apart(steps, grids, costs.step) if grids > 0 else 0
    return section.model_copy(
        update={
            "steps": steps,
            "warmup": warmup,
            "ema": ema,
            "log_every": min(section.log_every, max(1, steps // 20)),
            "sample_every": min(section.sample_every, apart),
            "checkpoint_every": min(section.checkpoint_every, math.ceil(steps / max(1, states))),
        }
    )


def _apart(steps: int, grids: int, each: float) -> int:
    """The steps between so many grids, one of which is the first one if it comes early."""
    apart = math.ceil(steps / grids)
    if apart * each <= min(_FIRST_PICTURES, steps * each / 2):
        return apart
    return math.ceil(steps / (grids - 1)) if grids > 1 else 2 * steps


def measuring_limit(seconds: float) -> float:
    """How much of a given time may be spent on measuring."""
    return _MEASURING * max(0.0, seconds)


def first_pictures(section: TrainSection, costs: Costs) -> int:
    """The step after which the first grid is drawn: two minutes, or the usual one if that comes sooner."""
    lines = min(_early(section, costs) / costs.step, section.sample_every) / section.log_every
    return min(section.sample_every, math.ceil(lines) * section.log_every)


def _early(section: TrainSection, costs: Costs) -> float:
    whole = section.steps * costs.step
    # Of a short training in the middle: pictures of the first steps show noise. Of a very short one never.
    return min(_FIRST_PICTURES, whole / 2) if whole >= _SHORT else math.inf


def estimate(section: TrainSection, costs: Costs, *, done: int = 0) -> list[str]:
    """What to say before the first step: how long it takes, and what to do where that means hours."""
    whole = costs.whole(section, done=done)
    first = first_pictures(section, costs)
    drawn = f"; the first pictures in {duration(first * costs.step)}" if 0 < first <= section.steps else ""
    lines = [f"about {duration(whole)} on this machine ({costs.step:.3g} s a step){'' if done else drawn}"]
    if whole >= _LONG:
        lines.append(
            f"warning: {section.steps - done} steps mean {duration(whole)} here; --minutes 60 fits the "
            "training to an hour, --steps N takes fewer, and it can be stopped at any time and gone on with "
            "by --resume"
        )
    return lines
