"""The rows themselves, from the TOML files beside this one: each system is a table ``[[system]]``."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from windvane.catalog.model import Paper, Part, System

#: What steers while sampling, what makes sampling cheaper, what concerns the model, and other data and jobs.
FILES = ("steering", "speed", "training", "applications")


def read_rows() -> Iterator[System]:
    """All systems, in the order of the files and of their tables."""
    for name in FILES:
        text = Path(__file__).with_name(f"{name}.toml").read_text(encoding="utf-8")
        yield from map(_system, tomllib.loads(text)["system"])


def _system(row: Mapping[str, Any]) -> System:
    papers = tuple(Paper(**{**paper, "authors": tuple(paper["authors"])}) for paper in row["papers"])
    return System(**{**row, "papers": papers, "parts": tuple(Part(**part) for part in row.get("parts", ()))})
