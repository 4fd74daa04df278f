"""`windvane train`: a diffusion model on a user's own images, with self-labels, labels or no condition."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from windvane.cli.common.console import tell
from windvane.cli.common.options import MOST_MINUTES, UserSettings, with_settings
from windvane.cli.common.processes import several

if TYPE_CHECKING:
    from windvane.cli.common.config import Config
    from windvane.time_budget import TimeBudget


@with_settings(
    "data.source out annotation annotate labels annotate.features resume train.steps minutes "
    "train.batch_size train.learning_rate train.seed train.precision data.size data.names data.strict "
    "config preset set",
    features="For --annotate; see annotate.",
)
def train(
    user: UserSettings,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run.")] = None,
    annotation: Annotated[
        Path | None,
        typer.Option("--annotation", help="Self-labels, boxes or masks made by windvane annotate."),
    ] = None,
    annotate: Annotated[
        str | None, typer.Option("--annotate", metavar="K", help="Make K self-labels first (or auto).")
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Condition on the data's own labels: the control.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes", min=0.1, max=MOST_MINUTES, help="Instead of --steps: as many as fit this time here."
        ),
    ] = None,
) -> None:
    """Train a model; stop it at any time, --resume continues exactly where it was.

    Runs on several processes or GPUs under accelerate launch, with the same result.
    """
    from windvane.cli.common.annotations.labels import check_features
    from windvane.cli.common.datasets import check_source
    from windvane.cli.common.folders import check_run_parts
    from windvane.cli.train.checks import check_run_folder, check_same_run
    from windvane.time_budget import TimeBudget

    budget = None if minutes is None else TimeBudget(minutes)
    if out is None:
        raise ValueError("where to? windvane train DATA --out RUN")
    chosen = [
        flag
        for flag, value in (("--annotation", annotation), ("--annotate", annotate), ("--labels", labels))
        if value
    ]
    if len(chosen) > 1:
        raise ValueError(f"{' and '.join(chosen)} exclude each other: a model has one condition")
    regions = annotation is not None and (annotation / "regions.json").is_file()
    if annotation is not None and not regions and not (annotation / "annotation.json").is_file():
        raise ValueError(f"{annotation} is no annotation; make one with windvane annotate DATA --out DIR")
    _check_minutes(minutes, steps=user.flags.get("train.steps"), resume=resume)
    check_run_parts(out)
    base = check_run_folder(out, resume=resume)
    if not base and annotation is not None:
        base = annotated_with(annotation)
    condition = "clusters" if annotation or annotate else None
    condition = "labels" if labels else "regions" if regions else condition
    made = user.config(
        base,
        {
            "annotate.k": annotate,
            "train.condition": condition,
            "train.annotation": str(annotation.resolve()) if annotation else None,
        },
    )
    told_by = out if resume else annotation
    told = told_by is not None and made.data.source == base.get("data", {}).get("source")
    check_source(made.data, told_by=told_by / "config.yaml" if told and told_by else None)
    check_features(made.annotate.features)
    if resume:
        check_same_run(out, made)
    _train(made, out, budget, resume=resume)


def _check_minutes(minutes: float | None, *, steps: int | None, resume: bool) -> None:
    if minutes is None:
        return
    if steps is not None:
        raise ValueError("--minutes and --steps exclude each other: the time says how many steps there are")
    if resume:
        raise ValueError("--minutes is for a new run; --resume keeps the steps that its time gave it")
    if several():
        raise ValueError("--minutes measures one process; give several of them --steps")


def annotated_with(annotation: Path) -> dict[str, Any]:
    """The data and the features of an annotation, so that training sees the same images."""
    from windvane.cli.common.config import check, left_yaml

    file = annotation / "config.yaml"
    settings = left_yaml(file) if file.is_file() else {}
    found: dict[str, Any] = {name: settings[name] for name in ("data", "annotate") if name in settings}
    check(found, where=str(file))
    return found


def _train(config: "Config", out: Path, budget: "TimeBudget | None" = None, *, resume: bool) -> None:
    from windvane.cli.common.datasets import open_parts
    from windvane.cli.common.errors import say
    from windvane.cli.common.processes import processes
    from windvane.cli.train.checks import check_run_folder, check_same_run
    from windvane.cli.train.footprint import check_memory
    from windvane.cli.train.run import condition_of, train_run
    from windvane.runs import Run

    group = processes()
    if group.first and group.count > 1:
        say(f"{group.count} processes train together")
    run = Run(out)
    with run.lock() if group.first else nullcontext():
        if resume:
            check_same_run(out, config)
        else:
            check_run_folder(out, resume=False)  # once more, now that nobody else writes there
        given = config.train.annotation
        # A resumed run goes on with the channels of its model, a new one with those of its annotation.
        beside = Path(given) if given and not (out / "model").is_dir() else out
        parts = open_parts(config.data, beside=beside, quiet=not group.first)
        if group.count == 1 and not str(group.device).startswith("cuda"):
            # Without a condition, which is not known yet and adds little.
            check_memory(config, shape=parts.train.shape, vector=None, layout=None)
        condition = condition_of(config, parts.train, run, group, budget=budget)
        if group.first and condition is None:
            say("no condition: this trains an unconditional model; --annotate 30 would give it self-labels")
        summary = train_run(config, parts, run, condition, group, budget=budget)
    if group.first:
        if budget is not None:
            tell(f"--minutes {budget.minutes:g} made {summary['steps']} steps of it")
        _tell(summary, out)


def _tell(summary: dict[str, Any], out: Path) -> None:
    tell(f"{summary['steps']} steps done, loss {summary['loss']:.4g}; model in {out / 'model'}")
    tell(f"next: windvane sample {out} --out SAMPLES   windvane evaluate {out}   windvane report {out}")
