"""Pictures that a command composed of many, once more: grids of samples and of a training, montages."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.again.original import Original
from windvane.cli.common.conditions.requests import requests_again
from windvane.cli.common.errors import say
from windvane.cli.common.grid_cells import GridCell, cells_of
from windvane.cli.common.models import open_model
from windvane.cli.common.recipe import MOST_ROWS, section_of
from windvane.cli.common.sampling import sample_rows
from windvane.damage import reading

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from windvane.cli.common.sections import SampleSection
    from windvane.denoiser import Denoiser


def grid_again(original: Original) -> "tuple[Image, dict[str, Any]] | None":
    """The grid of a folder of samples, or that of a training whose model has the weights of then.

    Returns:
        None for a grid of a training that has gone on, or begun anew, since.
    """
    from windvane.pictures import image_grid

    image, settings, place = original.image, original.settings, original.place()
    training = "weights_sha256" not in settings
    # What names the place and the weights of a sample names a model and a step here.
    told = {**settings, "seed": 0, "weights_sha256": settings.get("weights_sha256", ""), "format": 1}
    section = section_of(told)
    with reading(image):
        cells = cells_of(settings)
    opened = open_model(place, weights=section.weights, device=original.device, precision=section.precision)
    if training and opened.step != settings.get("step"):
        then = str(settings.get("step"))
        say(f"{image} shows step {then:.20}, and the model in {place} is at step {opened.step}")
        return None
    if not training and opened.sha256 != settings["weights_sha256"]:
        original.differ(f"the {section.weights} weights of {place} are not those that made {image}")
    with reading(image):
        wanted = [requests_again(cell.condition, opened.asked, 1) for cell in cells]
    if len({one is None for one in wanted}) > 1:
        raise ValueError(f"{image}: some of its pictures have a condition, and others have none")
    conditions = [one and one.condition() for one in wanted]
    grid = image_grid(_cells(opened.denoiser, section, cells, conditions))
    return grid, {**settings, "model": str(place.resolve())}


def _cells(
    denoiser: "Denoiser", section: "SampleSection", cells: Sequence[GridCell], conditions: Sequence[Any]
) -> "np.ndarray":
    """The levels (n, C, H, W) of the cells, each in a batch of the size and in the row that it had.

    A sample does not depend on its batch, but a last bit may on the size of the batch and the place in it.
    """
    import numpy as np

    from windvane.conditions import Condition

    batches: list[tuple[int, dict[int, int]]] = []
    for number, cell in enumerate(cells):
        rows, row = cell.batch["rows"], cell.batch["row"]
        place = next((taken for size, taken in batches if size == rows and row not in taken), None)
        if place is None:
            place = {}
            batches.append((rows, place))
        place[row] = number
    if sum(size for size, _ in batches) > MOST_ROWS:  # none that a command wrote
        batches = [(1, {0: number}) for number in range(len(cells))]
    made: dict[int, Any] = {}
    for size, taken in batches:
        filler = next(iter(taken.values()))
        chosen = [taken.get(row, filler) for row in range(size)]
        cond = None if conditions[0] is None else Condition.cat([conditions[k] for k in chosen])
        levels = sample_rows(denoiser, section, seeds=[cells[k].seed for k in chosen], cond=cond)
        made |= {number: levels[row] for row, number in taken.items()}
    return np.stack([made[number] for number in range(len(cells))])


def montage_again(original: Original) -> "tuple[Image, dict[str, Any]] | None":
    """The picture of an annotation from what lies beside it; None where no annotation does."""
    from PIL import Image

    from windvane.cli.common.annotations.page import config_of, is_annotation, write_report
    from windvane.cli.common.datasets import check_source, open_parts
    from windvane.report.annotation import MONTAGE

    folder, device = original.image.parent, original.device
    if not is_annotation(folder):
        return None
    config = config_of(folder, None)
    check_source(config.data)
    parts = open_parts(config.data, beside=folder, quiet=True)
    with tempfile.TemporaryDirectory(prefix="windvane-montage-") as out:
        write_report(folder, parts, config=config, out=Path(out), brief=True, device=device, progress=False)
        with Image.open(Path(out) / MONTAGE) as made:
            return made.copy(), original.settings
