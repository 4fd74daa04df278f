"""`windvane compare-solvers`: error against network calls, for a model of the user's own."""

from pathlib import Path
from typing import Annotated

import typer

from windvane.cli.common.options import MODEL, UserSettings, with_settings

_CALLS = "5,8,10,12,16,20"


@with_settings(
    "run out solvers calls reference_steps sample.n sample.seed sample.cluster sample.condition "
    "sample.boxes sample.mask sample.weight sample.guidance sample.interval sample.grid sample.batch_size"
    " sample.weights config set",
    n="How many samples; default 64.",
    boxes="Where objects shall be, as of windvane sample.",
    mask="Which id every pixel shall have: a PNG, or a folder.",
    grid="uniform log_snr edm quadratic; default: each solver's own.",
    batch_size="Samples at a time.",
)
def compare_solvers(
    user: UserSettings,
    run: Annotated[Path, typer.Argument(metavar="MODEL", help=MODEL)],
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
) -> None:
    """Which solver for this model: error against network calls, as a table, a CSV, a JSON file and a plot.

    The error is the distance per pixel to a fine solution of the same flow from the same seeds. Solvers that
    add noise follow no flow and are skipped, as is what a solver refuses, with the reason.
    """
    from windvane.cli.common.folders import SOLVERS
    from windvane.cli.common.models import check_model_path, run_config
    from windvane.cli.compare_solvers.run import compare, names_of, numbers_of
    from windvane.folders import claimed

    chosen, budgets = names_of(solvers), numbers_of(calls)
    SOLVERS.check(out)
    check_model_path(run)
    section = user.config(run_config(run)).sample
    with claimed(out, SOLVERS):
        compare(
            run,
            section,
            solvers=chosen,
            calls=budgets,
            reference_steps=reference_steps,
            out=out,
            weight_given=user.names("sample.weight"),
        )
