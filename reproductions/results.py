"""Where reproductions put what they measured: a section of RESULTS.md, with machine and command."""

import argparse
import os
import platform
import re
import shlex
import sys
from datetime import date
from pathlib import Path

import torch

RESULTS = Path(__file__).parent.parent / "RESULTS.md"


def machine() -> str:
    """The machine in a few words: processor kind, threads, accelerator, torch."""
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    cores = os.cpu_count() or 1
    return f"{platform.machine()}, {cores} cores, {accelerator}, torch {torch.__version__}"


def command() -> str:
    """This run's command line, as it was typed."""
    return shlex.join(["python", *sys.argv])


def experiment(description: str | None, seeds: list[int]) -> argparse.ArgumentParser:
    """A command line with ``--seeds``; the script's docstring is its help."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=seeds)
    return parser


def record(title: str, body: str, *, path: Path = RESULTS) -> None:
    """Put ``body`` under the heading ``title``, in place of an earlier section of that title."""
    head = f"## {title}\n\n"
    section = f"{head}{date.today()}, {machine()}\n\n`{command()}`\n\n{body.rstrip()}\n\n"
    text = path.read_text() if path.exists() else "# Results\n\nEach section is written by its command.\n\n"
    found = re.search(rf"^{re.escape(head)}.*?(?=^## |\Z)", text, flags=re.DOTALL | re.MULTILINE)
    text = text[: found.start()] + section + text[found.end() :] if found else text + section
    path.write_text(text)
    print(f"\nwritten to {path.name}, section {title!r}")


def publish(title: str, body: str, *, keep: bool) -> None:
    """Print ``body``, and :func:`record` it if it is to be kept."""
    print(body)
    if keep:
        record(title, body)


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
