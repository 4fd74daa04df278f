"""Making a picture again from the settings inside it, and comparing the two pixel by pixel."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.again.commands import command_again, page_command
from windvane.cli.common.again.original import Original
from windvane.cli.common.errors import say
from windvane.cli.common.recipe import other_numbers
from windvane.pictures import read_pixels, read_settings, save_png

if TYPE_CHECKING:
    from windvane.cli.common.again.original import Repeat

#: The task of the picture of an annotation.
MONTAGE = "montage"


@dataclass(frozen=True)
class PixelComparison:
    """How a picture made again differs from the first: pixels that differ, and by how many levels at most."""

    path: Path
    pixels: int
    levels: int

    @property
    def equal(self) -> bool:
        """Whether the two are the same picture."""
        return self.pixels == 0


def make_again(image: Path, *, out: Path, model: Path | None, force: bool) -> PixelComparison | str:
    """Write the picture `image` anew into the folder `out`, or tell the command that does.

    What was composed of many samples is made in the batches of then; see also :meth:`.Original.levels`.

    Args:
        model: where the model is now; default the place recorded in the picture.
        force: go on although the model's weights, or the numbers that a seed gives, are no longer those that
            made the picture.

    Returns:
        The comparison of the two; or a line for a shell, for pages and for what takes a whole command: the
        grid of a training that has gone on, a plot of a comparison, the picture of a demo.

    Raises:
        ValueError: settings of no picture, a model that is gone or has changed, numbers of another version of
            the seeds, or a file of somebody else in the way.
    """
    if image.suffix.lower() in (".html", ".htm"):
        return command_again(image, page_command(image), out)
    settings = read_settings(image)
    target = out / image.name
    if target.exists() and target.samefile(image):
        raise ValueError(f"--out {out} would overwrite {image} itself; choose another folder")
    if target.exists():
        read_settings(target)  # refuses to replace what no command wrote
    repeat = _repeat_of(settings)
    if repeat is not None and settings.get("task") != MONTAGE:
        _check_numbers(image, settings, force=force)
    made = None if repeat is None else repeat(Original(image, settings, out, model, force))
    if made is None:
        return command_again(image, settings, out)
    save_png(made[0], target, made[1])
    first, second = read_pixels(image), read_pixels(target)
    if second.shape != first.shape:
        return PixelComparison(target, second[0].size, 255)
    gap = abs(second.astype(int) - first.astype(int))
    return PixelComparison(target, int((gap.max(axis=0) > 0).sum()), int(gap.max()))


def _repeat_of(settings: dict[str, Any]) -> "Repeat | None":
    """What makes a picture of such settings; None where only its command does."""
    if settings.get("task") == MONTAGE:
        target = "common.again.grids:montage_again"
    elif "conditions" in settings:
        target = "common.again.grids:grid_again"
    elif "reward" in settings:
        target = "search.again:searched_again"
    elif "steered_by" in settings and "seed" in settings and "picture" not in settings:
        target = "steer.again:steered_again"
    elif "command" in settings and "steered_by" not in settings:
        return None
    else:
        target = "steer.again:steered_grid_again" if "picture" in settings else "sample.again:sampled_again"
    module, _, name = target.partition(":")
    made: Repeat = getattr(importlib.import_module(f"windvane.cli.{module}"), name)
    return made


def _check_numbers(image: Path, settings: dict[str, Any], *, force: bool) -> None:
    changed = other_numbers(settings)
    if changed is None:
        return
    if not force:
        raise ValueError(f"{image}: {changed}; --force makes the picture that its seed gives now")
    say(f"{image}: {changed}")
