"""How a training will go: its steps, fitted to a time where one is given, its grids, and what to say."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from windvane.cli.common.conditions.vocabulary import Asked
from windvane.cli.common.config import Config
from windvane.cli.common.deadline import Budget, Deadline
from windvane.cli.train.pacing import (
    LEAST_STEPS,
    Costs,
    estimate,
    first_pictures,
    fitted,
    measured,
    measuring_limit,
)
from windvane.cli.train.sample_grids import SampleGrids, after

if TYPE_CHECKING:
    from windvane.denoiser import Denoiser
    from windvane.runs import Run
    from windvane.training import Snapshot
    from windvane.training.batches import Conditions, TrainingData

#: The share of a time that is left over for what nobody measured.
_SPARE = 0.02


@dataclass
class Plan:
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
    known: Asked | None,
    run: "Run",
    budget: Budget | None,
    measure: bool,
) -> Plan:
    """Measure a few steps, unless there are few in all or ``measure`` is off, and plan by them."""
    section = config.train
    grids = SampleGrids(config, known, run) if section.sample_every else None
    if not measure or (budget is None and section.steps < LEAST_STEPS):
        return Plan(config, grids)
    limit = {} if budget is None else {"limit": measuring_limit(budget.left())}
    costs = measured(denoiser, data, conditions, section, grids=grids, run=run, **limit)
    deadline = None
    if budget is not None:
        section = fitted(section, costs, budget.left())
        config = config.model_copy(update={"train": section})
        deadline = _deadline(budget, config, costs, run)
    plan = Plan(config, grids, deadline, estimate(section, costs, done=_done(run)))
    if not section.sample_every:
        plan.grids = None
    elif grids is not None:
        grids.config = config
        grids.room = None if deadline is None else deadline.room
        plan.early = [after(grids, first_pictures(section, costs) * costs.step, run)]
    return plan


def _deadline(budget: Budget, config: Config, costs: Costs, run: "Run") -> Deadline:
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
