"""An annotation that fits a time: fewer or more steps for what it learns, from a few measured ones."""

import math
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from windvane.cli.errors import say
from windvane.cli.sections import AnnotateSection
from windvane.progress import duration

if TYPE_CHECKING:
    from windvane.cli.config import Config
    from windvane.data import ImageData

#: The share of --minutes for what is learnt and for the features; clusters and the page take the rest.
_SHARE = 0.75
#: A step sees 128 images twice, forwards and backwards: as much as the features of so many images.
_IMAGES_A_STEP = 2 * 128 * 3
#: More steps than ten times the usual ones make an encoder no better.
_MOST = 10
_SHORT, _LONG = 1, 4


def check_minutes(minutes: float | None) -> None:
    """Refuse what cannot be measured."""
    if minutes is not None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("--minutes measures one process; give several of them --features selfsup:STEPS")


def paced(config: "Config", data: "ImageData", minutes: float | None, *, device: str) -> "Config":
    """The configuration fitted to the time, if one is given; it says what it made of it."""
    if minutes is None:
        return config
    section, lines = fitted_annotation(config.annotate, data, minutes, flip=config.train.flip, device=device)
    for line in lines:
        say(line)
    return config.model_copy(update={"annotate": section})


def fitted_annotation(
    section: AnnotateSection, data: "ImageData", minutes: float, *, flip: bool, device: str
) -> tuple[AnnotateSection, list[str]]:
    """The section with as many training steps as fit ``minutes``, and what to say about it."""
    begin = time.monotonic()
    learners = _learners(section, flip=flip if section.flip is None else section.flip)
    paces = {field: _pace(make, data, device) for field, (_, make) in learners.items()}
    left = _SHARE * 60 * minutes - (time.monotonic() - begin)
    lines, changes = [], {}
    for field, (start, step) in paces.items():
        kind, make = learners[field]
        usual = make(None).steps
        room = left / len(paces) - start - step * len(data) / _IMAGES_A_STEP
        steps = min(_MOST * usual, max(1, math.floor(room / step)))
        changes[field] = f"{kind}:{steps}"
        lines.append(
            f"--minutes {minutes:g} makes {steps} steps of {field} {kind} ({step:.2g} s each here, about "
            f"{duration(start + steps * step)} in all); usual are {usual}"
        )
        if room < step:
            lines.append(f"warning: {minutes:g} minutes are too short for {len(data):,} images; take more")
    if not learners:
        lines.append(f"--minutes {minutes:g} has no effect: nothing here is learnt in steps")
    return section.model_copy(update=changes), lines


def _learners(section: AnnotateSection, *, flip: bool) -> dict[str, tuple[str, Callable[[int | None], Any]]]:
    """By the field of the section: the kind of features, and what makes them with so many steps."""
    from windvane.annotate.dense.restore import Restoration
    from windvane.annotate.features.selfsup import SelfSup

    def selfsup(steps: int | None) -> Any:
        return SelfSup(seed=section.seed, flip=flip, **_given(steps))

    def restoration(steps: int | None) -> Any:
        return Restoration(seed=section.seed, **_given(steps))

    found: dict[str, tuple[str, Callable[[int | None], Any]]] = {}
    of_labels = section.control is not None and section.control.startswith("labels")
    if section.masks is None and not of_labels and section.features.partition(":")[0] == "selfsup":
        found["features"] = ("selfsup", selfsup)
    if section.coco is None and (section.boxes or section.masks is not None):
        kind = section.dense.partition(":")[0]
        if kind in ("restoration", "encoder"):
            found["dense"] = (kind, restoration if kind == "restoration" else selfsup)
    return found


def _given(steps: int | None) -> dict[str, Any]:
    return {} if steps is None else {"steps": steps}


def _pace(make: Callable[[int | None], Any], data: "ImageData", device: str) -> tuple[float, float]:
    """Seconds before the first step, and of each step: from a short and a longer training."""
    taken = []
    for steps in (_SHORT, _LONG):
        begin = time.perf_counter()
        make(steps).fit(data, progress=False, device=device)
        taken.append(time.perf_counter() - begin)
    # The short one also warms up: on a busy machine the difference alone may be nothing.
    step = max((taken[1] - taken[0]) / (_LONG - _SHORT), taken[1] / _LONG / 2)
    return max(0.0, taken[1] - _LONG * step), step
