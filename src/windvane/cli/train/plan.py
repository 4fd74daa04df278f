"""How a training will go: its steps, fitted to a time where one is given, its grids, and what to say."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from windvane.cli.common.builders import loop_options
from windvane.cli.common.conditions.vocabulary import KnownConditions
from windvane.cli.common.config import Config
from windvane.cli.common.sections import TrainSection
from windvane.cli.train.sample_grids import SampleGrids, after
from windvane.progress import duration
from windvane.time_budget import Deadline, TimeBudget

if TYPE_CHECKING:
    from windvane.denoiser import Denoiser
    from windvane.runs import Run
    from windvane.training import Snapshot
    from windvane.training.batches import Conditions, TrainingData
    from windvane.training.pacing import Costs

#: The share of a time that is left over for what nobody measured.
_SPARE = 0.02
#: Shorter trainings are done before a measurement tells anything.
LEAST_STEPS = 200
#: Seconds that are warned of.
_LONG = 3600


@dataclass
class TrainingPlan:
    """What :func:`plan_training` gives to the loop."""

    config: Config
    grids: SampleGrids | None
    deadline: Deadline | None = None
    lines: list[str] = field(default_factory=list)
    early: "list[Callable[[Snapshot], None]]" = field(default_factory=list)


def plan_training(
    config: Config,
    denoiser: "Denoiser",
    data: "TrainingData",
    conditions: "Conditions | None",
    *,
    known: KnownConditions | None,
    run: "Run",
    budget: TimeBudget | None,
    measure: bool,
) -> TrainingPlan:
    """Measure a few steps, unless there are few in all or ``measure`` is off, and plan by them."""
    from windvane.training.pacing import first_pictures, fitted, measured, measuring_limit

    section = config.train
    grids = SampleGrids(config, known, run) if section.sample_every else None
    if not measure or (budget is None and section.steps < LEAST_STEPS):
        return TrainingPlan(config, grids)
    limit: dict[str, Any] = {} if budget is None else {"limit": measuring_limit(budget.left())}
    if grids is not None:
        limit |= {"grid": grids.timed, "grid_rows": grids.rows}
    costs = measured(denoiser, data, conditions, loop_options(section), folder=run.path, **limit)
    deadline = None
    if budget is not None:
        section = section.model_copy(update=fitted(section, costs, budget.left()))
        config = config.model_copy(update={"train": section})
        deadline = _deadline(budget, config, costs, run)
    plan = TrainingPlan(config, grids, deadline, estimate(section, costs, done=_done(run)))
    if not section.sample_every:
        plan.grids = None
    elif grids is not None:
        grids.config = config
        grids.room = None if deadline is None else deadline.room
        plan.early = [after(grids, first_pictures(section, costs) * costs.step, run)]
    return plan


def _deadline(budget: TimeBudget, config: Config, costs: "Costs", run: "Run") -> Deadline:
    """What ends the training in time, and notes its steps before the last state is written."""

    def ended(steps: int) -> None:
        told = run.read_config()
        told["train"]["steps"] = steps
        run.write_config(told)

    reserve = costs.state + _SPARE * 60 * budget.minutes
    return Deadline(budget, planned=config.train.steps, reserve=reserve, ended=ended)


def _done(run: "Run") -> int:
    """The steps of the newest state."""
    newest = run.latest_state()
    return 0 if newest is None else int(newest.name.removeprefix("step-"))


def estimate(section: TrainSection, costs: "Costs", *, done: int = 0) -> list[str]:
    """What to say before the first step: how long it takes, and what to do where that means hours."""
    from windvane.training.pacing import first_pictures

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
