"""How long a training will take on this machine, from a few measured steps; and one that fits a time."""

import copy
import math
import time
from typing import TYPE_CHECKING, Any

from windvane.cli.sections.train import TrainSection
from windvane.progress import duration

if TYPE_CHECKING:
    from windvane.denoiser import Denoiser
    from windvane.training.batches import Conditions, TrainingData

#: The share of --minutes that goes into steps; the rest is for grids, states and the start.
_SHARE = 0.85
_MEASURED, _WARM = 4, 1
#: Shorter trainings are done before a measurement tells anything.
LEAST_STEPS = 200
_LONG = 3600
#: A grid costs as much as some 15 steps; closer together, grids would take the time meant for steps.
_GRID_APART = 150
#: When the first pictures should be there.
_FIRST_PICTURES = 120


def seconds_per_step(
    denoiser: "Denoiser", data: "TrainingData", conditions: "Conditions | None", section: TrainSection
) -> float:
    """The time of one step, by training a copy for a few; the denoiser itself stays as it is."""
    from windvane.training import train

    stamps: list[float] = []

    def stamp(snapshot: Any) -> None:
        stamps.append(time.perf_counter())

    train(
        copy.deepcopy(denoiser),
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
        progress=False,
    )
    return (stamps[-1] - stamps[_WARM - 1]) / _MEASURED


def fitted(section: TrainSection, seconds: float, minutes: float) -> TrainSection:
    """The section with as many steps as fit ``minutes`` at ``seconds`` each, and all that follows from it.

    The rise of the learning rate stays the same share of the training, and so does the time over which
    weights are averaged; up to eight grids and at least four states are made.
    """
    steps = max(1, math.floor(_SHARE * 60 * minutes / seconds))
    scale = steps / section.steps
    warmup = min(section.warmup, max(1, round(section.warmup * scale))) if section.warmup else 0
    ema = max(0.0, 1 - (1 - section.ema) / scale) if scale < 1 else section.ema
    return section.model_copy(
        update={
            "steps": steps,
            "warmup": warmup,
            "ema": ema,
            "sample_every": min(section.sample_every, max(steps // 8, min(steps, _GRID_APART))),
            "checkpoint_every": min(section.checkpoint_every, max(1, steps // 4)),
        }
    )


def first_pictures(section: TrainSection, seconds: float) -> int:
    """The step after which the first grid is drawn: two minutes, or the usual one if that comes sooner."""
    rounded = math.ceil(_FIRST_PICTURES / seconds / section.log_every) * section.log_every
    return min(section.sample_every, rounded) if section.sample_every else 0


def estimate(section: TrainSection, seconds: float) -> list[str]:
    """What to say before the first step: how long it takes, and what to do where that means hours."""
    whole = section.steps * seconds
    first = first_pictures(section, seconds)
    drawn = f"; the first pictures in {duration(first * seconds)}" if 0 < first <= section.steps else ""
    lines = [f"about {duration(whole)} on this machine ({seconds:.3g} s a step){drawn}"]
    if whole >= _LONG:
        lines.append(
            f"warning: {section.steps} steps mean {duration(whole)} here; --minutes 60 fits the training to "
            "an hour, --steps N takes fewer, and it can be stopped at any time and gone on with by --resume"
        )
    return lines
