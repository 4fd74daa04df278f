"""Making one picture again from the settings inside it, and comparing the two pixel by pixel."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from windvane.cli.errors import say
from windvane.cli.models import check_model_path, open_model
from windvane.cli.processes import processes
from windvane.cli.recipe import Recipe, batch_of, other_numbers, section_of
from windvane.cli.sampling import machine, sample_rows
from windvane.cli.wanted import wanted_again
from windvane.damage import reading
from windvane.pictures import read_pixels, read_settings, save_png, to_picture


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


def make_again(image: Path, *, out: Path, model: Path | None, force: bool) -> Comparison:
    """Write the picture `image` anew into the folder `out`.

    A sample does not depend on its batch, but a last bit of a convolution may. So the picture is made alone
    first, and where a pixel differs once more in a batch of the first one's size.

    Args:
        model: where the model is now; default the place recorded in the picture.
        force: go on although the model's weights, or the numbers that a seed gives, are no longer those that
            made the picture.

    Raises:
        ValueError: settings of no single picture, a model that is gone or has changed, numbers of another
            version of the seeds.
    """
    settings = read_settings(image)
    _check_numbers(image, settings, force=force)
    if "steered_by" in settings and "seed" in settings:
        make = _steered
    elif "reward" in settings:
        make = _searched
    else:
        make = _sampled
    target = out / image.name
    if target.exists() and target.samefile(image):
        raise ValueError(f"--out {out} would overwrite {image} itself; choose another folder")
    first = read_pixels(image)
    made, told = make(image, settings, first, model, force)
    save_png(to_picture(made), target, told)
    if made.shape != first.shape:
        return Comparison(target, made[0].size, 255)
    gap = abs(made.astype(int) - first.astype(int))
    return Comparison(target, int((gap.max(axis=0) > 0).sum()), int(gap.max()))


def _sampled(
    image: Path, settings: dict[str, Any], first: Any, model: Path | None, force: bool
) -> tuple[Any, dict[str, Any]]:
    """A sample's levels (C, H, W) and settings."""
    section = section_of(settings)
    place = _place(image, settings, model)
    opened = open_model(place, weights=section.weights, device=processes().device)
    if opened.sha256 != settings["weights_sha256"]:
        changed = (
            f"the {section.weights} weights of {place} are not those that made {image}: sha256 "
            f"{opened.sha256[:12]} now, {settings['weights_sha256'][:12]} then (step {settings.get('step')})"
        )
        if not force:
            raise ValueError(f"{changed}; --force makes the picture of the new weights")
        say(changed)
    recipe = Recipe(opened.folder, opened.sha256, opened.step, section)
    seed, condition = int(settings["seed"]), settings.get("condition")

    def levels(rows: int, row: int) -> Any:
        with reading(image):
            asked = wanted_again(condition, opened.asked, rows)
        return sample_rows(opened.denoiser, recipe, seed=seed, asked=asked, rows=rows)[row]

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
    from windvane.cli.steering_again import steered_again

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
    from windvane.cli.searching_again import searched_again

    order = settings.get("order")
    if not isinstance(order, dict):
        raise ValueError(
            f"{image} does not say how it was found; windvane search with the same flags makes it again"
        )
    place = _place(image, order, model)
    return searched_again(image, settings, place, device=processes().device, differ=_differing(force))


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
