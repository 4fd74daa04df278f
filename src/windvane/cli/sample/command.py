"""`windvane sample`: pictures from a trained model, or one picture again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from windvane.cli.common.console import tell
from windvane.cli.common.errors import say
from windvane.cli.common.options import (
    BatchSize,
    Cluster,
    ConditionName,
    ConfigFile,
    Grid,
    Guidance,
    Interval,
    Settings,
    Steps,
    Weight,
    Weights,
)

if TYPE_CHECKING:
    from windvane.cli.common.sections import SampleSection

_MODEL = "Folder of a run, of a model, or of a diffusers pipeline, or a pipeline's name on the hub."


def sample(
    run: Annotated[Path | None, typer.Argument(metavar="MODEL", help=_MODEL)] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the pictures.")] = None,
    n: Annotated[int | None, typer.Option("--n", help="How many pictures.")] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of the first; the next has seed + 1.")
    ] = None,
    cluster: Cluster = None,
    condition: ConditionName = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            "--boxes", help="Where objects shall be: COCO-style JSON, or [[left,top,right,bottom],...]."
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option("--mask", help="Which id every pixel shall have: a PNG, or a folder of them."),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            "--like",
            help="A picture, or a folder of them: ask for its cluster, or boxes or mask found in it.",
        ),
    ] = None,
    weight: Weight = None,
    guidance: Guidance = None,
    interval: Interval = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            "--sampler", "--solver", help="ddim, dpm++2m, unipc3, ...; windvane settings lists them."
        ),
    ] = None,
    steps: Steps = None,
    grid: Grid = None,
    batch_size: BatchSize = None,
    weights: Weights = None,
    compile: Annotated[
        bool | None, typer.Option("--compile", help="Compile the network first: pays for many pictures.")
    ] = None,
    array: Annotated[bool, typer.Option("--npz", help="Also write all pictures as one samples.npz.")] = False,
    again: Annotated[
        Path | None,
        typer.Option("--again", metavar="IMAGE", help="Make this picture once more, or tell the command."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --again: although the model or the seeds' numbers changed.")
    ] = False,
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Make pictures with a trained model; each carries its settings and its own seed.

    Pictures that are there already are kept, so the same command finishes what was interrupted. The same
    seeds give the same pictures at any batch size and, under accelerate launch, on any number of processes.
    """
    from windvane.cli.common.config import make_config
    from windvane.cli.common.models import check_model_path, run_config

    flags = {
        "n": n,
        "seed": seed,
        "cluster": cluster,
        "condition": condition,
        "boxes": None if boxes is None else str(boxes),
        "mask": None if mask is None else str(mask),
        "like": None if like is None else str(like),
        "weight": weight,
        "guidance": guidance or None,
        "interval": parse_interval(interval),
        "sampler": sampler,
        "steps": steps,
        "grid": grid,
        "batch_size": batch_size,
        "weights": weights,
        "compile": compile,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    if again is not None:
        if given or config or settings:
            raise ValueError(
                "--again takes every setting from the picture; give it alone, with MODEL and --out"
            )
        _again(again, run, out, force)
        return
    if force:
        raise ValueError("--force belongs to --again")
    if run is None:
        raise ValueError("which model? windvane sample MODEL --out DIR, or windvane sample --again IMAGE")
    if out is None:
        raise ValueError("where to? windvane sample MODEL --out DIR")
    if out.is_file():
        raise ValueError(f"--out is a folder, {out} is a file")
    check_model_path(run)
    made = make_config(
        base=run_config(run),
        file=config,
        flags={f"sample.{name}": value for name, value in given.items()},
        settings=settings or (),
    )
    weight_given = weight is not None or any(text.startswith("sample.weight=") for text in settings or ())
    _sample(run, out, made.sample, array=array, weight_given=weight_given)


def _sample(run: Path, out: Path, section: "SampleSection", *, array: bool, weight_given: bool) -> None:
    from windvane.cli.common.processes import processes
    from windvane.cli.common.sampling import GRID, read_index, sample_run

    group = processes()
    if group.count > 1 and group.first:
        say(f"{group.count} processes share the pictures")
    sample_run(run, section, out=out, group=group, array=array, weight_given=weight_given)
    if group.first:
        index = read_index(out)
        pictures = index["pictures"]
        cost = max(picture["evaluations"] or 0 for picture in pictures)
        tell(
            f"{len(pictures)} pictures in {out}, {index['made']} of them made now, {cost:g} network "
            f"evaluations each; overview: {out / GRID}"
        )


def _again(image: Path, run: Path | None, out: Path | None, force: bool) -> None:
    if not image.is_file():
        raise ValueError(f"picture not found: {image}")
    from windvane.cli.common.again.run import make_again

    found = make_again(image, out=out or image.parent / "again", model=run, force=force)
    if isinstance(found, str):
        say(f"{image} is made again by the command that follows")
        tell(found)
        return
    if found.equal:
        tell(f"{found.path}: equal to {image}, pixel by pixel")
        return
    tell(f"{found.path}: {found.pixels} pixels differ from {image}, by at most {found.levels} of 255 levels")
    if not force:
        raise typer.Exit(1)


def parse_interval(text: str | None) -> list[float] | None:
    """`0.3,5` -> [0.3, 5.0]; `inf` is allowed as the upper end."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--interval needs two noise levels LOW,HIGH such as 0.3,5, got {text!r}") from None
    return [low, high]
