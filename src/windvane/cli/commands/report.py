"""`windvane report`: one self-contained HTML page about a run."""

from pathlib import Path
from typing import Annotated

import typer

from windvane.cli.errors import say


def report(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="Folder of a run.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="HTML file; default report.html in the run.")
    ] = None,
    weights: Annotated[
        str, typer.Option("--weights", metavar="W,W,...", help="Guidance weights side by side.")
    ] = "1,2,4",
    clusters: Annotated[int, typer.Option("--clusters", min=1, help="How many clusters to sample.")] = 8,
    samples: Annotated[bool, typer.Option(help="Make samples for the page.")] = True,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Sampling steps.")] = None,
) -> None:
    """Write a page with clusters, guided samples, curves, metrics and a search for copies.

    The page is one file that loads nothing; it can be mailed, or opened without a network.
    """
    if run is None:
        raise ValueError("which run? windvane report RUN")
    if not run.is_dir():
        raise ValueError(f"there is no run at {run}")
    if not (run / "model").is_dir() and not (run / "metrics.jsonl").is_file():
        raise ValueError(f"{run} is no run: it has neither model/ nor metrics.jsonl")
    try:
        chosen = [float(text) for text in weights.split(",")]
    except ValueError:
        raise ValueError(f"--weights needs numbers such as 1,2,4, got {weights!r}") from None
    from windvane.cli.config import make_config
    from windvane.cli.models import run_config

    settings = run_config(run)
    config = make_config(base=settings)

    from windvane.cli.opening import check_source, open_parts
    from windvane.cli.processes import processes
    from windvane.progress import progress_enabled
    from windvane.report import run_report

    parts = None
    if settings:
        try:
            check_source(config.data)
            parts = open_parts(config.data, name_damaged=False)
        except (ValueError, OSError) as error:  # a page without pictures of the data is better than none
            say(f"the training images are not at hand, so the page has no clusters: {error}")
    path = run_report(
        run,
        out=out,
        train=parts.train if parts else None,
        held_out=parts.held_out if parts else None,
        sample=samples,
        weights=chosen,
        clusters=clusters,
        steps=steps or config.sample.steps,
        batch_size=config.sample.batch_size,
        device=processes().device,
        progress=progress_enabled(),
    )
    print(path)
