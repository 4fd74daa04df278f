"""`windvane doctor`: is this machine ready, and if not, what to do about it."""

import json
from pathlib import Path
from typing import Annotated

import typer

MARKS = {"ok": "ok", "note": "–", "warn": "warn", "bad": "BROKEN"}


def doctor(
    folder: Annotated[
        Path, typer.Option("--folder", help="Where runs will be written; its disk is checked.")
    ] = Path("."),
    imports: Annotated[
        bool, typer.Option("--imports", help="Import diffusers and transformers too: ten seconds.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check Python, torch, devices, packages, disk and memory; exit code 1 when something is broken."""
    from windvane.cli.doctor.checks import examine

    findings = examine(folder, imports=imports)
    if as_json:
        print(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        from windvane.cli.common.console import print_table, tell

        print_table(
            ["check", "state", "found"], [[f.name, MARKS[f.state], f.detail] for f in findings], keep=2
        )
        for finding in findings:
            if finding.fix:
                tell(f"{finding.name}: {finding.fix}")
    broken = [finding.name for finding in findings if finding.state == "bad"]
    if broken:
        if not as_json:
            tell(f"{len(broken)} broken: {', '.join(broken)}")
        raise typer.Exit(1)
    if not as_json:
        tell("everything that windvane needs works here")
