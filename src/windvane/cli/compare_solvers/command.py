"""`windvane compare-solvers`: error against network calls, for a model of the user's own."""

from pathlib import Path
from typing import Annotated

import typer

from windvane.cli.common.options import (
    Cluster,
    ConditionName,
    ConfigFile,
    Guidance,
    Interval,
    Settings,
    Weight,
    Weights,
)

_MODEL = "Folder of a run, of a model, or of a diffusers pipeline, or a pipeline's name on the hub."
_CALLS = "5,8,10,12,16,20"


def compare_solvers(
    run: Annotated[Path, typer.Argument(metavar="MODEL", help=_MODEL)],
    out: Annotated[Path, typer.Option("--out", help="Folder for the table and the plot.")] = Path("solvers"),
    solvers: Annotated[
        str | None,
        typer.Option("--solvers", metavar="A,B,C", help="Names as of --sampler; default: all without noise."),
    ] = None,
    calls: Annotated[
        str, typer.Option("--calls", metavar="N,N,...", help="Budgets of network calls.")
    ] = _CALLS,
    reference_steps: Annotated[
        int,
        typer.Option(
            "--reference-steps", max=100_000, help="Steps of the fine solution that errors are taken to."
        ),
    ] = 500,
    n: Annotated[int | None, typer.Option("--n", help="How many samples; default 64.")] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of the first; the next has seed + 1.")
    ] = None,
    cluster: Cluster = None,
    condition: ConditionName = None,
    boxes: Annotated[
        Path | None, typer.Option("--boxes", help="Where objects shall be, as of windvane sample.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option("--mask", help="Which id every pixel shall have: a PNG, or a folder.")
    ] = None,
    weight: Weight = None,
    guidance: Guidance = None,
    interval: Interval = None,
    grid: Annotated[
        str | None, typer.Option("--grid", help="uniform log_snr edm quadratic; default: each solver's own.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Samples at a time.")] = None,
    weights: Weights = None,
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Which solver for this model: error against network calls, as a table, a CSV, a JSON file and a plot.

    The error is the distance per pixel to a fine solution of the same flow from the same seeds. Solvers that
    add noise follow no flow and are skipped, as is what a solver refuses, with the reason.
    """
    from windvane.cli.common.config import make_config
    from windvane.cli.common.folders import SOLVERS
    from windvane.cli.common.models import check_model_path, run_config
    from windvane.cli.compare_solvers.run import compare, names_of, numbers_of
    from windvane.cli.sample.command import parse_interval
    from windvane.folders import claimed

    flags = {
        "n": n,
        "seed": seed,
        "cluster": cluster,
        "condition": condition,
        "boxes": None if boxes is None else str(boxes),
        "mask": None if mask is None else str(mask),
        "weight": weight,
        "guidance": guidance or None,
        "interval": parse_interval(interval),
        "grid": grid,
        "batch_size": batch_size,
        "weights": weights,
    }
    chosen, budgets = names_of(solvers), numbers_of(calls)
    SOLVERS.check(out)
    check_model_path(run)
    made = make_config(
        base=run_config(run),
        file=config,
        flags={f"sample.{name}": value for name, value in flags.items() if value is not None},
        settings=settings or (),
    )
    weight_given = weight is not None or any(text.startswith("sample.weight=") for text in settings or ())
    with claimed(out, SOLVERS):
        compare(
            run,
            made.sample,
            solvers=chosen,
            calls=budgets,
            reference_steps=reference_steps,
            out=out,
            weight_given=weight_given,
        )
