"""Flags that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

#: Of --minutes: two years.
MOST_MINUTES = 1_000_000.0
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
Names = Annotated[
    str | None,
    typer.Option("--names", metavar="FILE", help="Names of the classes: one a line, or id,name."),
]
Strict = Annotated[bool | None, typer.Option("--strict", help="Refuse data with unreadable images.")]
Cluster = Annotated[int | None, typer.Option("--cluster", help="This cluster (or label) for all.")]
ConditionName = Annotated[
    str | None, typer.Option("--condition", help="Draw clusters: empirical, uniform, or none.")
]
Weight = Annotated[
    float | None, typer.Option("--weight", help="Guidance: 1 the conditional model, 0 the unconditional.")
]
Interval = Annotated[
    str | None, typer.Option("--interval", metavar="LOW,HIGH", help="Guide at these noise levels only.")
]
Guidance = Annotated[
    list[str] | None,
    typer.Option(
        "--guidance", metavar="NAME[:OPTION=VALUE,...]",
        help="Guidance by name, such as autoguidance:weak=RUN; repeatable. See windvane settings sample.",
    ),
]  # fmt: skip
Steps = Annotated[int | None, typer.Option("--steps", help="Sampling steps.")]
Grid = Annotated[
    str | None, typer.Option("--grid", help="Where the steps are: uniform log_snr edm quadratic.")
]
BatchSize = Annotated[int | None, typer.Option("--batch-size", help="Pictures at a time.")]
Weights = Annotated[str | None, typer.Option("--weights", help="ema or raw.")]
Reference = Annotated[str | None, typer.Option("--reference", metavar="DATA", help="Images to compare with.")]
MetricFeatures = Annotated[
    str | None, typer.Option("--features", help="auto, judge, selfsup, pca[:N], pixels, hub:NAME.")
]
