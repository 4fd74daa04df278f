"""The catalogue: one row per published system, and the README table, CLI list and citations made from it."""

import difflib

from windvane.catalog.model import KINDS, Paper, Part, State, System
from windvane.catalog.rows import read_rows

__all__ = ["KINDS", "SYSTEMS", "Paper", "Part", "State", "System", "cite", "get", "table"]


def _order(system: System) -> tuple[bool, int]:
    return system.state != "works", KINDS.index(system.kind)


SYSTEMS: tuple[System, ...] = tuple(sorted(read_rows(), key=_order))
"""All systems: those that work first, then by kind."""


def get(slug: str) -> System:
    """The row of one system. An unknown slug is a ValueError that names the nearest ones."""
    rows = {system.slug: system for system in SYSTEMS}
    if not isinstance(slug, str):
        raise ValueError(
            f"a system is named by text, such as {SYSTEMS[0].slug!r}, got a {type(slug).__name__}"
        )
    if slug in rows:
        return rows[slug]
    near = difflib.get_close_matches(slug.lower(), rows, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the catalogue has {', '.join(sorted(rows))}"
    raise ValueError(f"unknown system {slug!r}; {hint}")


def cite(slug: str) -> str:
    """BibTeX for a system: its own publication first, then those it stands on."""
    return "\n\n".join(paper.bibtex() for paper in get(slug).papers)


def table(format: str = "markdown") -> str:
    """The catalogue as text: "markdown" (the README's table), "plain" (aligned columns) or "tsv"."""
    if format == "markdown":
        head = ["| System | Kind | What it gives | Paper | State |", "|---|---|---|---|---|"]
        return "\n".join(head + [_markdown(system) for system in SYSTEMS])
    if format == "plain":
        width = max(len(system.slug) for system in SYSTEMS) + 2
        return "\n".join(f"{s.slug:<{width}}{s.state:<9}{s.kind:<17}{s.gives}" for s in SYSTEMS)
    if format == "tsv":
        fields = ("slug", "state", "kind", "title", "gives", "limits")
        rows = [[getattr(system, field) for field in fields] for system in SYSTEMS]
        return "\n".join("\t".join(row) for row in [list(fields), *rows])
    raise ValueError(f"unknown table format {format!r}; use 'markdown', 'plain' or 'tsv'")


def _markdown(system: System) -> str:
    paper = f"[{system.paper.short}]({system.paper.link})" if system.paper.link else system.paper.short
    state = "**works**" if system.state == "works" else system.state
    return f"| {system.title} (`{system.slug}`) | {system.kind} | {system.gives} | {paper} | {state} |"
