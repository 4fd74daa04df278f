"""`windvane demo`: the whole way on the embedded digits, in a few minutes."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for models, pictures and the report.")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Less training; the numbers mean less.")] = False,
) -> None:
    """Label digits by themselves, train, guide, measure against controls, and write a report."""
    from windvane.cli.common.folders import DEMO
    from windvane.folders import claimed, note_files
    from windvane.progress import progress_enabled
    from windvane.tasks.self_guided import demo as run_demo

    DEMO.check(out)
    with claimed(out, DEMO):
        note_files(out, DEMO, DEMO.files)
        run_demo(out, seed=seed, quick=quick, progress=progress_enabled())
