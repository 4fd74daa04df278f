"""An annotation that fits a time: fewer or more steps for what it learns, from a few measured ones."""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from windvane.cli.common.datasets import usable_cache
from windvane.cli.common.errors import say
from windvane.cli.common.processes import several
from windvane.cli.common.sections import AnnotateSection
from windvane.progress import duration
from windvane.time_budget import TimeBudget

if TYPE_CHECKING:
    from windvane.cli.common.config import Config
    from windvane.data import ImageData

#: The share of --minutes for what is learnt and for the features; clusters and the page take the rest.
_SHARE = 0.8
#: A step sees 128 images twice, forwards and backwards: as much as the features of so many images.
_IMAGES_A_STEP = 2 * 128 * 3
#: More steps than ten times the usual ones make an encoder no better.
_MOST = 10
_SHORT, _LONG = 1, 4
#: The share of --minutes that measuring may take, so that it sees more than a moment of a busy machine.
_MEASURING = 0.05
#: Fewer steps are not measured; what takes more than a minute is told, and what takes an hour warned of.
_WORTH_IT, _SAID, _HOURS = 100, 60, 3600


def check_minutes(minutes: float | None) -> None:
    """Refuse what cannot be measured."""
    if minutes is not None and several():
        raise ValueError("--minutes measures one process; give several of them --features selfsup:STEPS")


def paced(config: "Config", data: "ImageData", budget: TimeBudget | None, *, device: str) -> "Config":
    """The configuration fitted to the time, if one is given; says what it made of it, or what to expect."""
    section, flip = config.annotate, config.train.flip
    if budget is None and several():
        return config
    if budget is None:
        for line in expected(section, data, flip=flip, device=device):
            say(line)
        return config
    section, lines = fitted_annotation(section, data, budget, flip=flip, device=device)
    for line in lines:
        say(line)
    return config.model_copy(update={"annotate": section})


def expected(section: AnnotateSection, data: "ImageData", *, flip: bool, device: str) -> list[str]:
    """How long what is learnt will take, where that is more than a minute, with a warning of hours."""
    from windvane.annotate.features.fitting import kept_at

    lines, whole, cache = [], 0.0, usable_cache("annotate")
    for field, (kind, make) in _learners(
        section, flip=flip if section.flip is None else section.flip
    ).items():
        _, _, given = getattr(section, field).partition(":")
        learner = make(int(given) if given.isdigit() else None)
        kept = kept_at(learner, data, cache)
        if learner.steps < _WORTH_IT or (kept is not None and kept.exists()):
            continue
        start, step = _pace(make, data, device)
        taken = start + learner.steps * step
        whole += taken
        if taken >= _SAID:
            lines.append(
                f"{field} {kind}: about {duration(taken)} on this machine "
                f"({learner.steps} steps of {step:.2g} s)"
            )
    if whole >= _HOURS:
        lines.append(
            f"warning: that is {duration(whole)}; --minutes 20 fits it to twenty minutes, and --features pca "
            "learns nothing in steps"
        )
    return lines


def fitted_annotation(
    section: AnnotateSection, data: "ImageData", budget: TimeBudget, *, flip: bool, device: str
) -> tuple[AnnotateSection, list[str]]:
    """The section with as many training steps as fit what is left of the time, and what to say about it."""
    learners = _learners(section, flip=flip if section.flip is None else section.flip)
    worth = _MEASURING * max(0.0, budget.left()) / max(1, len(learners))
    paces = {field: _pace(make, data, device, worth=worth) for field, (_, make) in learners.items()}
    left = _SHARE * max(0.0, budget.left())
    lines, changes = [], {}
    for field, (start, step) in paces.items():
        kind, make = learners[field]
        usual = make(None).steps
        room = left / len(paces) - start - step * len(data) / _IMAGES_A_STEP
        steps = min(_MOST * usual, max(1, math.floor(room / step)))
        changes[field] = f"{kind}:{steps}"
        lines.append(
            f"--minutes {budget.minutes:.3g} makes {steps} steps of {field} {kind} ({step:.2g} s each here, "
            f"about {duration(start + steps * step)} in all); usual are {usual}"
        )
        if room < step:
            lines.append(
                f"warning: {budget.minutes:.3g} minutes are too short for {len(data):,} images; take more"
            )
    if not learners:
        lines.append(f"--minutes {budget.minutes:.3g} has no effect: nothing here is learnt in steps")
    return section.model_copy(update=changes), lines


def _learners(section: AnnotateSection, *, flip: bool) -> dict[str, tuple[str, Callable[[int | None], Any]]]:
    """By the field of the section: the kind of features, and what makes them with so many steps."""
    from windvane.annotate.dense.restoration import Restoration
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


def _pace(
    make: Callable[[int | None], Any], data: "ImageData", device: str, *, worth: float = 0.0
) -> tuple[float, float]:
    """Seconds before the first step, and of each step: from a short and a longer training.

    The longer one is made longer while less than ``worth`` seconds have been spent: few steps say little on a
    machine with other things to do.
    """

    def taken(steps: int) -> float:
        begin = time.perf_counter()
        make(steps).fit(data, progress=False, device=device)
        return time.perf_counter() - begin

    short, steps = taken(_SHORT), _LONG
    long = taken(steps)
    spent = short + long
    while spent + 4 * long < worth:
        steps *= 4
        long = taken(steps)
        spent += long
    # The short one also warms up: on a busy machine the difference alone may be nothing.
    step = max((long - short) / (steps - _SHORT), long / steps / 2)
    return max(0.0, long - steps * step), step
