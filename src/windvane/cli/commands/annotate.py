"""`windvane annotate`: cluster ids for unlabelled images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from windvane.cli.options import ConfigFile, Data, Preset, Settings, Size, Strict

if TYPE_CHECKING:
    from windvane.cli.config import Config


def annotate(
    data: Data = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the annotation.")] = None,
    features: Annotated[
        str | None,
        typer.Option("--features", help="selfsup[:STEPS], pca[:N], pixels, denoiser:RUN, or hub:NAME."),
    ] = None,
    k: Annotated[str | None, typer.Option("--k", help="Number of clusters, or auto.")] = None,
    control: Annotated[
        str | None,
        typer.Option(
            "--control",
            help="Instead of clusters: random, noise:RATIO, split:PARTS, grey; labels, labels+split:5.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed")] = None,
    size: Size = None,
    strict: Strict = None,
    config: ConfigFile = None,
    preset: Preset = None,
    settings: Settings = None,
) -> None:
    """Give every training image a cluster id, from the images alone.

    Labels, if the data has any, are only compared with the clusters afterwards.
    """
    from windvane.cli.annotating import check_features
    from windvane.cli.config import make_config
    from windvane.cli.opening import check_source

    if out is None:
        raise ValueError("where to? windvane annotate DATA --out DIR")
    if out.is_file():
        raise ValueError(f"--out is a folder, {out} is a file")
    made = make_config(
        file=config,
        preset=preset,
        flags={
            "data.source": data,
            "data.size": size,
            "data.strict": strict,
            "annotate.features": features,
            "annotate.k": k,
            "annotate.control": control,
            "annotate.seed": seed,
        },
        settings=settings or (),
    )
    check_source(made.data)
    check_features(made.annotate.features)
    _annotate(made, out)


def _annotate(config: "Config", out: Path) -> None:
    from windvane.annotate import Group
    from windvane.cli.annotating import REPORT, lines, make_annotation
    from windvane.cli.config import write_yaml
    from windvane.cli.errors import say
    from windvane.cli.opening import open_parts
    from windvane.cli.processes import processes
    from windvane.files import atomic_write_json, atomic_write_text

    group = processes()
    if group.first and group.count > 1:
        say(f"{group.count} processes annotate together")
    parts = open_parts(config.data, quiet=not group.first)
    annotation, told = make_annotation(
        config.annotate,
        parts.train,
        flip=config.train.flip,
        device=group.device,
        progress=group.first,
        group=Group(group.rank, group.count),
    )
    if not group.first:
        return
    annotation.save(out)
    atomic_write_json(out / REPORT, told)
    atomic_write_text(out / "config.yaml", write_yaml(config))
    if parts.train.scan is not None:
        atomic_write_json(out / "scan.json", parts.train.scan.to_dict())
    for line in lines(told):
        print(line)
    print(f"annotation in {out}; next: windvane train {config.data.source} --annotation {out} --out RUN")
