"""`windvane papers`: the published systems, and what can be used today."""

import json
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer


class SystemState(StrEnum):
    """Whether a system can be used."""

    WORKS = "works"
    PLANNED = "planned"


def papers(
    cite: Annotated[
        str | None, typer.Option("--cite", metavar="SLUG", help="Print the BibTeX of a system.")
    ] = None,
    state: Annotated[SystemState | None, typer.Option("--state", help="Only systems in this state.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the published systems of the catalogue; --cite prints one's BibTeX."""
    from windvane import catalog

    if cite is not None:
        print(catalog.cite(cite))
        return
    systems = [system for system in catalog.SYSTEMS if state is None or system.state == state.value]
    if as_json:
        names = ("slug", "title", "kind", "state", "gives", "limits", "callable", "test", "reproduction")
        rows = [
            {name: getattr(system, name) for name in names} | {"parts": [asdict(p) for p in system.parts]}
            for system in systems
        ]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    from windvane.cli.common.console import print_table

    print_table(
        ["system", "kind", "state", "what it gives"],
        [[s.slug, s.kind, s.state, s.gives] for s in systems],
        keep=3,
    )
    works = sum(system.state == SystemState.WORKS.value for system in systems)
    print(f"{len(systems)} systems, {works} work today; windvane papers --cite SLUG prints one's BibTeX")
