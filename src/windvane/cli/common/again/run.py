"""Making a picture again from the settings inside it, and comparing the two pixel by pixel."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.again.commands import command_again, page_command
from windvane.cli.common.again.grids import grid_again, montage_again
from windvane.cli.common.conditions.requests import wanted_again
from windvane.cli.common.errors import say
from windvane.cli.common.guidance import guidance_files
from windvane.cli.common.models import check_model_path, open_model
from windvane.cli.common.processes import processes
from windvane.cli.common.recipe import Recipe, batch_of, other_numbers, section_of
from windvane.cli.common.sampling import machine, sample_rows
from windvane.cli.search.rewards import is_code
from windvane.damage import reading
from windvane.pictures import read_pixels, read_settings, save_png, to_picture

if TYPE_CHECKING:
    from PIL.Image import Image

#: The task of the picture of an annotation.
MONTAGE = "montage"


@dataclass(frozen=True)
class Comparison:
    """How a picture made again differs from the first: pixels that differ, and by how many levels at most."""

    path: Path
    pixels: int
    levels: int

    @property
    def equal(self) -> bool:
        """Whether the two are the same picture."""
        return self.pixels == 0


def make_again(image: Path, *, out: Path, model: Path | None, force: bool) -> Comparison | str:
    """Write the picture `image` anew into the folder `out`, or tell the command that does.

    A sample does not depend on its batch, but a last bit of a convolution may. So the picture is made alone
    first, and where a pixel differs once more in a batch of the first one's size. What was composed of many
    samples is made in the batches of then.

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
    _check_code(image, settings, out)
    made = _made(image, settings, model, force)
    if made is None:
        return command_again(image, settings, out)
    picture, told = made
    save_png(picture, target, told)
    first, second = read_pixels(image), read_pixels(target)
    if second.shape != first.shape:
        return Comparison(target, second[0].size, 255)
    gap = abs(second.astype(int) - first.astype(int))
    return Comparison(target, int((gap.max(axis=0) > 0).sum()), int(gap.max()))


def _made(
    image: Path, settings: dict[str, Any], model: Path | None, force: bool
) -> "tuple[Image, dict[str, Any]] | None":
    """The picture and its settings; None where only its command makes it."""
    if settings.get("task") == MONTAGE:
        made = montage_again(image, device=processes().device)
        return None if made is None else (made, settings)
    cells = "conditions" in settings
    if "command" in settings and not cells and "steered_by" not in settings and "reward" not in settings:
        return None
    _check_numbers(image, settings, force=force)
    if not cells and ("reward" in settings or "picture" not in settings):
        first = read_pixels(image)
        single = "steered_by" in settings and "seed" in settings
        make = _steered if single else _searched if "reward" in settings else _sampled
        levels, told = make(image, settings, first, model, force)
        return to_picture(levels), told
    place = _place(image, settings, model)
    device, differ = processes().device, _differing(force)
    if cells:
        grid = grid_again(image, settings, place, device=device, differ=differ)
    else:
        from windvane.cli.steer.again import steered_grid_again

        grid = steered_grid_again(image, settings, place, device=device, differ=differ)
    return None if grid is None else (grid, {**settings, "model": str(place.resolve())})


def _sampled(
    image: Path, settings: dict[str, Any], first: Any, model: Path | None, force: bool
) -> tuple[Any, dict[str, Any]]:
    """A sample's levels (C, H, W) and settings."""
    section = section_of(settings)
    place = _place(image, settings, model)
    opened = open_model(
        place, weights=section.weights, device=processes().device, precision=section.precision
    )
    if opened.sha256 != settings["weights_sha256"]:
        changed = (
            f"the {section.weights} weights of {place} are not those that made {image}: sha256 "
            f"{opened.sha256[:12]} now, {settings['weights_sha256'][:12]} then (step {settings.get('step')})"
        )
        if not force:
            raise ValueError(f"{changed}; --force makes the picture of the new weights")
        say(changed)
    files = guidance_files(section)
    if files != settings.get("guidance_files", files):
        _differing(force)(f"what guided {image} is not what it was: {', '.join(files)}")
    recipe = Recipe(opened.folder, opened.sha256, opened.step, section, files)
    seed, condition = int(settings["seed"]), settings.get("condition")

    def levels(rows: int, row: int) -> Any:
        with reading(image):
            asked = wanted_again(condition, opened.asked, rows)
        cond = None if asked is None else asked.condition()
        return sample_rows(opened.denoiser, section, seeds=[seed] * rows, cond=cond)[row]

    made, shape = levels(1, 0), {"rows": 1, "row": 0}
    then = batch_of(settings)
    if _differ(made, first) and then != shape and not force:
        made, shape = levels(then["rows"], then["row"]), then
    device = next(opened.denoiser.parameters()).device.type
    return made, {**recipe.of(seed, condition), "batch": shape, "machine": machine(device)}


def _steered(
    image: Path, settings: dict[str, Any], first: Any, model: Path | None, force: bool
) -> tuple[Any, dict[str, Any]]:
    """A steered picture's levels (C, H, W) and settings."""
    from windvane.cli.steer.again import steered_again

    if "order" not in settings:
        raise ValueError(
            f"{image} does not say what steered it; windvane steer with the same flags makes it again"
        )

    place = _place(image, settings, model)
    differ = _differing(force)
    levels, device = steered_again(image, settings, place, device=processes().device, differ=differ)
    made = levels(False)
    if _differ(made, first) and not force:
        made = levels(True)
    return made, {**settings, "model": str(place.resolve()), "machine": machine(device)}


def _searched(
    image: Path, settings: dict[str, Any], first: Any, model: Path | None, force: bool
) -> tuple[Any, dict[str, Any]]:
    """Levels (C, H, W) and settings of a picture that a search left."""
    from windvane.cli.search.again import searched_again

    order = settings.get("order")
    if not isinstance(order, dict):
        raise ValueError(
            f"{image} does not say how it was found; windvane search with the same flags makes it again"
        )
    place = _place(image, order, model)
    return searched_again(image, settings, place, device=processes().device, differ=_differing(force))


def _check_code(image: Path, settings: dict[str, Any], out: Path) -> None:
    """Refuse what could run code only because a picture says so, and name the command that may."""
    order = settings.get("order")
    if not isinstance(order, dict):
        return
    rewards = order.get("reward") if "reward" in settings else None
    coded = [str(one) for one in rewards if is_code(str(one))] if isinstance(rewards, list) else []
    if order.get("trust") is True:
        why = f"was steered by {str(order.get('classifier'))[:80]} with --trust, which could run code"
    elif coded:
        why = f"was found by the reward {coded[0][:80]}, a file of code"
    else:
        return
    command = "windvane with the same flags"
    if "command" in settings:
        command = command_again(image, settings, out)
    raise ValueError(f"{image} {why}, and no picture may run that; this makes it again: {command}")


def _differing(force: bool) -> Callable[[str], None]:
    """What to do about a difference in what makes a picture: refuse, or only say so."""

    def differ(what: str) -> None:
        if not force:
            raise ValueError(f"{what}; --force makes the picture of what is there now")
        say(what)

    return differ


def _place(image: Path, settings: dict[str, Any], model: Path | None) -> Path:
    """Where the model is: where the user says, or else where the picture says."""
    told = settings.get("model")
    if model is None and not isinstance(told, str):
        raise ValueError(f"{image} does not say which model made it; give its folder as RUN")
    place = model or Path(str(told))
    if model is None and not place.exists():
        raise ValueError(f"the model of {image} was at {place}, where nothing is now; give its folder as RUN")
    check_model_path(place)
    return place


def _differ(one: Any, other: Any) -> bool:
    return one.shape != other.shape or bool((one != other).any())


def _check_numbers(image: Path, settings: dict[str, Any], *, force: bool) -> None:
    changed = other_numbers(settings)
    if changed is None:
        return
    if not force:
        raise ValueError(f"{image}: {changed}; --force makes the picture that its seed gives now")
    say(f"{image}: {changed}")
