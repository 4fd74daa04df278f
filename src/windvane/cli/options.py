"""Flags that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="YAML file with settings (sections as in --set)."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="A.B=VALUE",
        help="Any setting, e.g. train.steps=500; repeatable. See windvane settings.",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option("--preset", metavar="NAME", help="Starting point by data size: digits, small32, cifar."),
]
Data = Annotated[
    str | None,
    typer.Argument(metavar="DATA", help="digits, a folder, a .parquet, .npy or .npz file, or hub:NAME."),
]
Size = Annotated[int | None, typer.Option("--size", help="Side of the images in pixels.")]
Strict = Annotated[bool | None, typer.Option("--strict", help="Refuse data with unreadable images.")]
