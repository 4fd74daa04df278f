"""A command: a function whose parameters are its arguments and flags."""

import json
from pathlib import Path
from typing import Annotated

import typer

from windvane.cli.common.console import tell


def seeds(
    folder: Annotated[Path, typer.Argument(help="A folder of samples.")],
    separator: Annotated[str, typer.Option("--separator", help="Between two seeds.")] = " ",
) -> None:
    """The seeds of a folder of samples."""
    if not (folder / "samples.json").is_file():
        raise ValueError(f"{folder} holds no samples; make some with windvane sample MODEL --out {folder}")
    pictures = json.loads((folder / "samples.json").read_text())["pictures"]
    tell(separator.join(str(picture["seed"]) for picture in pictures))
