"""`windvane sample`: pictures from a trained model, or one picture again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from windvane.cli.common.console import tell
from windvane.cli.common.errors import say
from windvane.cli.common.options import MODEL, UserSettings, with_settings

if TYPE_CHECKING:
    from windvane.cli.common.sections import SampleSection


@with_settings(
    "run out sample.n sample.seed sample.cluster sample.condition sample.boxes sample.mask sample.like "
    "sample.weight sample.guidance sample.interval sample.sampler sample.steps sample.grid "
    "sample.batch_size sample.weights sample.compile array again force config set",
)
def sample(
    user: UserSettings,
    run: Annotated[Path | None, typer.Argument(metavar="MODEL", help=MODEL)] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the pictures.")] = None,
    array: Annotated[bool, typer.Option("--npz", help="Also write all pictures as one samples.npz.")] = False,
    again: Annotated[
        Path | None,
        typer.Option("--again", metavar="IMAGE", help="Make this picture once more, or tell the command."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --again: although the model or the seeds' numbers changed.")
    ] = False,
) -> None:
    """Make pictures with a trained model; each carries its settings and its own seed.

    Pictures that are there already are kept, so the same command finishes what was interrupted. The same
    seeds give the same pictures at any batch size and, under accelerate launch, on any number of processes.
    """
    from windvane.cli.common.models import check_model_path, run_config

    if again is not None:
        if user:
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
    section = user.config(run_config(run)).sample
    _sample(run, out, section, array=array, weight_given=user.names("sample.weight"))


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
