"""A sample once more, from the settings inside it."""

from typing import TYPE_CHECKING, Any

from windvane.cli.common.again.original import Original
from windvane.cli.common.conditions.requests import requests_again
from windvane.cli.common.errors import say
from windvane.cli.common.guidance import guidance_files
from windvane.cli.common.models import open_model
from windvane.cli.common.recipe import Recipe, batch_of, section_of
from windvane.cli.common.sampling import machine, sample_rows
from windvane.damage import reading
from windvane.pictures import to_picture

if TYPE_CHECKING:
    from PIL.Image import Image


def sampled_again(original: Original) -> "tuple[Image, dict[str, Any]]":
    """The picture, alone or in its batch, and its settings."""
    image, settings = original.image, original.settings
    section = section_of(settings)
    place = original.place()
    opened = open_model(place, weights=section.weights, device=original.device, precision=section.precision)
    if opened.sha256 != settings["weights_sha256"]:
        changed = (
            f"the {section.weights} weights of {place} are not those that made {image}: sha256 "
            f"{opened.sha256[:12]} now, {settings['weights_sha256'][:12]} then (step {settings.get('step')})"
        )
        if not original.force:
            raise ValueError(f"{changed}; --force makes the picture of the new weights")
        say(changed)
    files = guidance_files(section)
    if files != settings.get("guidance_files", files):
        original.differ(f"what guided {image} is not what it was: {', '.join(files)}")
    recipe = Recipe(opened.folder, opened.sha256, opened.step, section, files)
    seed, condition = int(settings["seed"]), settings.get("condition")
    then, alone = batch_of(settings), {"rows": 1, "row": 0}

    def levels(together: bool) -> Any:
        rows, row = (then if together else alone).values()
        with reading(image):
            asked = requests_again(condition, opened.asked, rows)
        cond = None if asked is None else asked.condition()
        return sample_rows(opened.denoiser, section, seeds=[seed] * rows, cond=cond)[row]

    made, together = original.levels(levels)
    device = next(opened.denoiser.parameters()).device.type
    told = {**recipe.of(seed, condition), "batch": then if together else alone, "machine": machine(device)}
    return to_picture(made), told
