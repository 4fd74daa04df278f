"""Writing samples into a folder, one picture at a time, so that nothing is lost and nothing is done twice."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.builders import build_guided, sampling_options
from windvane.cli.common.conditions.requests import Requests, requests_for
from windvane.cli.common.errors import Interrupted
from windvane.cli.common.folders import SAMPLES
from windvane.cli.common.grid_cells import GridCell, grid_settings
from windvane.cli.common.guidance import guidance_files, settled
from windvane.cli.common.models import open_model, pictures_of
from windvane.cli.common.processes import Processes
from windvane.cli.common.recipe import CIRCUMSTANCES, Recipe, batch_of, differences
from windvane.cli.common.sections import SampleSection
from windvane.damage import reading
from windvane.files import atomic_write_json
from windvane.folders import claimed, note_files
from windvane.hashes import read_sealed, sealed
from windvane.invocation import made_by
from windvane.pictures import (
    image_grid,
    read_pixels,
    read_settings,
    save_png,
    save_pngs,
    to_picture,
    to_uint8,
)

if TYPE_CHECKING:
    import numpy as np

    from windvane.conditions import Condition
    from windvane.denoiser import Denoiser
    from windvane.samplers import Samples

GRID = "grid.png"
INDEX = "samples.json"
ARRAY = "samples.npz"
_MOST_IN_GRID = 100


def file_of(seed: int) -> str:
    """The name of the picture of a seed."""
    return f"{seed:08d}.png"


def sample_run(
    run: Path,
    section: SampleSection,
    *,
    out: Path | None,
    group: Processes,
    array: bool = False,
    weight_given: bool = False,
) -> Path:
    """Open the model of a run and write samples of it into `out`, by default a folder of the run's own.

    Args:
        weight_given: the weight was asked for by the user, so it is refused where it has no effect.
    """
    with ExitStack() as stack:
        if out is not None and group.first:
            stack.enter_context(claimed(out, SAMPLES))
        model = open_model(run, weights=section.weights, device=group.device, precision=section.precision)
        section = settled(section, model.asked, weight_given=weight_given)
        recipe = Recipe(model.folder, model.sha256, model.step, section, guidance_files(section))
        seeds = list(range(section.seed, section.seed + section.n))
        asked = requests_for(section, model.asked, seeds, model=model.folder)
        if out is None:
            out = run / "samples" / _name(recipe)
            if group.first:
                stack.enter_context(claimed(out, SAMPLES))
        write_samples(
            model.denoiser,
            recipe,
            out=out,
            seeds=seeds,
            asked=asked,
            group=group,
            array=array,
            progress=group.first,
        )
    return out


def _name(recipe: Recipe) -> str:
    """A folder name that differs wherever pictures would."""
    section = recipe.section
    told = {**recipe.settings(), "condition": section.condition, "cluster": section.cluster}
    drawn = (("boxes", section.boxes), ("mask", section.mask), ("like", section.like))
    told |= {name: value for name, value in drawn if value}
    told = {name: value for name, value in told.items() if name not in CIRCUMSTANCES}
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]
    return f"w{section.weight:g}-{section.sampler.replace('+', 'p')}-{section.steps}-{key}"


def missing_seeds(out: Path, recipe: Recipe, seeds: Sequence[int], asked: Requests | None) -> list[int]:
    """Positions of the seeds whose pictures are not in `out` yet.

    Raises:
        ValueError: a picture of the same name was made with other settings.
    """
    todo = []
    for position, seed in enumerate(seeds):
        path = out / file_of(seed)
        if not path.exists():
            todo.append(position)
            continue
        wanted = recipe.of(seed, None if asked is None else asked.value(position))
        different = differences(read_settings(path), wanted)
        if different:
            raise ValueError(
                f"{path} was made with other settings ({'; '.join(different[:3])}); choose another --out"
            )
    return todo


def write_samples(
    denoiser: "Denoiser",
    recipe: Recipe,
    *,
    out: Path,
    seeds: Sequence[int],
    asked: Requests | None,
    group: Processes,
    array: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Make the pictures that `out` lacks, shared among the processes, then index and grid; returns the index.

    The picture of a seed depends on the seed and its condition alone: neither on the batch nor on the number
    of processes. Each process writes its own pictures as they come.
    """
    todo = missing_seeds(out, recipe, seeds, asked)
    group.wait()  # nobody writes before everybody has looked
    mine = todo[group.rank :: group.count]
    out.mkdir(parents=True, exist_ok=True)
    if group.first:
        beside = [GRID, INDEX, *([ARRAY] if array else [])]
        note_files(out, SAMPLES, [*(file_of(seed) for seed in seeds), *beside])
    try:
        if mine:
            _write(
                denoiser,
                recipe,
                out,
                [seeds[i] for i in mine],
                asked.take(mine) if asked is not None else None,
                progress,
            )
    except KeyboardInterrupt:
        done = len(seeds) - len([seed for seed in seeds if not (out / file_of(seed)).exists()])
        raise Interrupted(
            f"{done} of {len(seeds)} pictures are in {out}; the same command makes the rest"
        ) from None
    group.wait()
    if not group.first:
        return {}
    return _finish(out, recipe, seeds, made=len(todo), array=array)


def _write(
    denoiser: "Denoiser", recipe: Recipe, out: Path, seeds: list[int], asked: Requests | None, progress: bool
) -> None:
    from windvane.samplers import sample_batches

    section = recipe.section
    batches = sample_batches(
        build_guided(denoiser, section),
        seeds=seeds,
        cond=None if asked is None else asked.condition(),
        **sampling_options(denoiser, section),
        progress=progress,
        compile=section.compile,
    )
    done, written = 0, None
    # The disk is waited for while the next batch is drawn; leaving the block waits for the last one.
    with ThreadPoolExecutor(1, thread_name_prefix="windvane-pictures") as writer:
        for batch in batches:
            levels = to_uint8(pictures_of(denoiser, batch.x))
            made = []
            for row, seed in enumerate(batch.seeds.tolist()):
                condition = None if asked is None else asked.value(done + row)
                settings = {
                    **recipe.of(seed, condition),
                    "batch": {"rows": len(levels), "row": row},
                    "evaluations": batch.rows_per_sample,
                    "machine": machine(batch.x.device.type),
                }
                made.append((to_picture(levels[row]), out / file_of(seed), settings))
            if written is not None:
                written.result()
            written = writer.submit(save_pngs, made)
            done += len(levels)
        if written is not None:
            written.result()


def sample_rows(
    denoiser: "Denoiser", section: SampleSection, *, seeds: Sequence[int], cond: "Condition | None"
) -> "np.ndarray":
    """The levels (rows, C, H, W) of some seeds in one batch; of one seed repeated any row is the picture."""
    return to_uint8(pictures_of(denoiser, draw(denoiser, section, seeds=seeds, cond=cond).x))


def draw(
    denoiser: "Denoiser",
    section: SampleSection,
    *,
    seeds: Sequence[int],
    cond: "Condition | None",
    batch_size: int | None = None,
) -> "Samples":
    """Samples as the section has them, in batches of ``batch_size``, by default in one."""
    from windvane.samplers import sample

    return sample(
        build_guided(denoiser, section),
        seeds=seeds,
        cond=cond,
        **{**sampling_options(denoiser, section), "batch_size": batch_size},
        progress=False,
    )


def _finish(out: Path, recipe: Recipe, seeds: Sequence[int], *, made: int, array: bool) -> dict[str, Any]:
    pictures: list[dict[str, Any]] = []
    cells: list[GridCell] = []
    for seed in seeds:
        settings = read_settings(out / file_of(seed))
        about = {name: settings.get(name) for name in ("seed", "condition", "evaluations")}
        pictures.append({"file": file_of(seed), **about})
        if len(cells) < _MOST_IN_GRID:
            cells.append(GridCell(seed, settings.get("condition"), batch_of(settings)))
    index = {"settings": recipe.settings(), "made": made, "pictures": pictures}
    atomic_write_json(out / INDEX, sealed(index))
    levels = _levels(out, [cell.seed for cell in cells])
    save_png(image_grid(levels), out / GRID, {**recipe.settings(), **grid_settings(cells), **made_by()})
    if array:
        _write_array(out, pictures)
    return index


def _levels(out: Path, seeds: Sequence[int]) -> "np.ndarray":
    import numpy as np

    return np.stack([read_pixels(out / file_of(seed)) for seed in seeds])


def _write_array(out: Path, pictures: list[dict[str, Any]]) -> None:
    import numpy as np

    from windvane.files import atomic_file

    columns = {
        "images": _levels(out, [picture["seed"] for picture in pictures]),
        "seeds": np.array([picture["seed"] for picture in pictures], dtype=np.int64),
    }
    if isinstance(pictures[0]["condition"], int):
        columns["labels"] = np.array([picture["condition"] for picture in pictures], dtype=np.int64)
    with atomic_file(out / ARRAY) as temporary:
        np.savez_compressed(temporary, **columns)  # type: ignore[arg-type]


def read_index(folder: Path) -> dict[str, Any]:
    """The index of a folder of samples."""
    path, remedy = folder / INDEX, "run windvane sample again to rewrite it"
    if not path.is_file():
        raise ValueError(f"{folder} is no folder of samples: it has no {INDEX}")
    index = read_sealed(path, remedy=remedy)
    with reading(path, remedy=remedy):
        pictures = [(picture["file"], picture["condition"]) for picture in index["pictures"]]
        if not pictures or not isinstance(index["settings"], dict):
            raise ValueError("it names no pictures, or no settings")
        if any(not isinstance(name, str) or Path(name).name != name for name, _ in pictures):
            raise ValueError("a name in it is that of no picture beside it")
    return index


def machine(device: str) -> dict[str, Any]:
    """What else may change the last bit of a picture."""
    import torch

    return {"torch": torch.__version__, "device": device, "threads": torch.get_num_threads()}
