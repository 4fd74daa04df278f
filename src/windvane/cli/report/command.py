"""`windvane report`: one self-contained HTML page about a run or an annotation."""

from pathlib import Path
from typing import Annotated

import typer

from windvane.cli.common.console import tell
from windvane.cli.common.errors import say


def report(
    run: Annotated[Path | None, typer.Argument(metavar="FOLDER", help="A run, or an annotation.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="HTML file (a run's), or folder; default the one given.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="W,W,...", help="Guidance weights side by side; default 1,2,4."),
    ] = None,
    clusters: Annotated[
        int | None,
        typer.Option("--clusters", min=1, help="How many clusters, boxes or masks to sample; default 8."),
    ] = None,
    samples: Annotated[bool, typer.Option(help="Make samples for the page.")] = True,
    steps: Annotated[int | None, typer.Option("--steps", min=1, max=100_000, help="Sampling steps.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="The images of an annotation that does not name them.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option("--truth", metavar="FILE", help="COCO file of true boxes or masks.")
    ] = None,
    audit: Annotated[
        Path | None, typer.Option("--audit", metavar="DIR", help="Samples to search for copies, by cluster.")
    ] = None,
) -> None:
    """Write a page with clusters, boxes or masks, guided samples, curves, metrics and a search for copies.

    Of an annotation: cluster cards, boxes and masks on images, sizes, stability, agreement with labels and
    with --truth, how many clusters are advisable; the same numbers go to report.json. The page is one file
    that loads nothing; it can be mailed, or opened without a network.
    """
    if run is None:
        raise ValueError("which run? windvane report RUN")
    if not run.is_dir():
        raise ValueError(f"there is no run at {run}")
    from windvane.cli.common.annotations.page import is_annotation

    # A run comes first: boxes and masks that it was trained on lie in a folder of its own.
    trained = (run / "model").is_dir() or (run / "metrics.jsonl").is_file()
    if not trained and is_annotation(run):
        if weights is not None or clusters is not None or steps is not None or not samples:
            raise ValueError(
                f"--weights, --clusters, --steps and --no-samples are about a run; {run} is an annotation"
            )
        _annotation(run, out=out, data=data, truth=truth, audit=audit)
        return
    if data is not None or truth is not None or audit is not None:
        kept = run / "annotations"
        hint = f"; that of this run is in {kept}" if trained and is_annotation(kept) else ""
        raise ValueError(f"--data, --truth and --audit are about an annotation; {run} is none{hint}")
    if not trained:
        raise ValueError(f"{run} is no run: it has neither model/ nor metrics.jsonl")
    try:
        chosen = [float(text) for text in (weights or "1,2,4").split(",")]
    except ValueError:
        raise ValueError(f"--weights needs numbers such as 1,2,4, got {weights!r}") from None
    from windvane.cli.common.config import make_config
    from windvane.cli.common.models import run_config
    from windvane.folders import check_file

    check_file(out or run / "report.html", mark=b"Made by windvane", what="the page")
    settings = run_config(run)
    config = make_config(base=settings)

    from windvane.cli.common.datasets import check_source, open_parts
    from windvane.cli.common.processes import processes
    from windvane.progress import progress_enabled
    from windvane.report import run_report

    parts = None
    if settings:
        try:
            check_source(config.data)
            parts = open_parts(config.data, beside=run, name_damaged=False)
        except (ValueError, OSError) as error:  # a page without pictures of the data is better than none
            say(f"the training images are not at hand, so the page has no clusters: {error}")
    path = run_report(
        run,
        out=out,
        train=parts.train if parts else None,
        held_out=parts.held_out if parts else None,
        sample=samples,
        weights=chosen,
        clusters=clusters or 8,
        steps=steps or config.sample.steps,
        batch_size=config.sample.batch_size,
        device=processes().device,
        progress=progress_enabled(),
    )
    tell(path)


def _annotation(
    folder: Path, *, out: Path | None, data: str | None, truth: Path | None, audit: Path | None
) -> None:
    from windvane.cli.common.annotations.page import report_folder
    from windvane.cli.common.processes import processes
    from windvane.progress import progress_enabled

    if out is not None and out.suffix == ".html":
        raise ValueError("the page of an annotation comes with report.json: --out is a folder for both")
    for file in (truth, audit):
        if file is not None and not file.exists():
            raise ValueError(f"there is no {file}")
    path = report_folder(
        folder,
        out=out,
        data=data,
        truth=truth,
        samples=audit,
        device=str(processes().device),
        progress=progress_enabled(),
    )
    tell(path)
