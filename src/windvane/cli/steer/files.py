"""What `windvane steer` leaves in its folder: pictures, grids, arrays, numbers and a report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane._version import __version__
from windvane.cli.common.again.orders import hashes, section_values, whole
from windvane.cli.common.folders import STEERED
from windvane.cli.common.sampling import ARRAY, GRID, INDEX, file_of, machine
from windvane.cli.steer.wishes import Manner, WishFlags
from windvane.files import atomic_file, atomic_write_json
from windvane.folders import note_files
from windvane.invocation import made_by
from windvane.pictures import image_grid, save_png, save_pngs, to_picture, to_uint8

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from windvane.cli.common.config import Config
    from windvane.cli.common.sections import SampleSection
    from windvane.tasks.steering import Arm, Score, Wish

BEFORE_AFTER, SWEEP, NUMBERS, PAGE = "before_after.png", "sweep.png", "report.json", "report.html"
MOST_IN_GRID = 100
#: The kinds of wishes that are pictures.
PICTURES = ("like", "content", "style")


def settings_of(
    about: Mapping[str, Any],
    wishes: "Sequence[Wish]",
    section: "SampleSection",
    manner: Manner,
    order: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that makes the pictures, as JSON values."""
    from windvane.randomness import VERSION

    return {
        "format": 1,
        "windvane": __version__,
        "randomness": VERSION,
        **about,
        "sampler": section.sampler,
        "eta": section.eta,
        "steps": section.steps,
        "grid": section.grid,
        "clip": section.clip,
        "weights": section.weights,
        "cluster": section.cluster,
        "weight": None if section.cluster is None else section.weight,
        **manner.to_dict(),
        "steered_by": [{"kind": w.kind, "what": w.what, "weight": w.weight} for w in wishes],
        "order": dict(order),
    }


def steering_order(flags: WishFlags, config: "Config") -> dict[str, Any]:
    """What `windvane steer` was asked for: wishes with whole paths, images, and the hash of every file."""
    from windvane.tasks.steering.measurements import split_measure

    paths = {name: [whole(str(path)) for path in getattr(flags, name)] for name in PICTURES}
    measure = []
    for text in flags.measure:
        name, parameter, file = split_measure(text)
        head = name if not parameter else f"{name}={whole(parameter)}"
        measure.append(f"{head}:{whole(file)}")
        paths[text] = [whole(file), *([whole(parameter)] if parameter else [])]
    kind, colon, encoder = (flags.encoder or "").partition(":")
    classifier = None if flags.classifier is None else whole(flags.classifier)
    return {
        **{name: paths[name] for name in PICTURES},
        "text": list(flags.text),
        "class": list(flags.classes),
        "measure": measure,
        "wish_weights": dict(flags.weights),
        "encoder": f"{kind}{colon}{whole(encoder)}" if flags.encoder else None,
        "classifier": classifier,
        "trust": flags.trust,
        "files": hashes(
            [*(path for found in paths.values() for path in found), classifier or "", config.data.names or ""]
        ),
        "data": config.data.model_dump(mode="json"),
        "sample": section_values(config.sample),
    }


def write_outputs(
    out: Path,
    *,
    wishes: "Sequence[Wish]",
    arms: "Sequence[Arm]",
    pictures: "Mapping[float, Tensor]",
    scores: "Mapping[float, Sequence[Score]]",
    settings: Mapping[str, Any],
    notes: Sequence[str],
) -> None:
    """Write all files; the pictures are those of strength 1, or else of the last one."""
    from windvane.tasks.steering import write_page

    chosen = next((arm for arm in arms if arm.factor == 1), arms[-1])
    images = pictures[chosen.factor].clamp(-1, 1)
    strength = {**settings, "strength": chosen.factor}
    pages = [GRID, BEFORE_AFTER, SWEEP, INDEX, ARRAY, NUMBERS, PAGE]
    note_files(out, STEERED, [*pages, *(file_of(seed) for seed in chosen.seeds.tolist())])
    _pictures(out, images, chosen, strength)
    grids = {GRID: [chosen.factor], BEFORE_AFTER: [arms[0].factor, chosen.factor]}
    if len(arms) > 2:
        grids[SWEEP] = [arm.factor for arm in arms]
    for name, factors in grids.items():
        told = {**settings, "picture": name, "strengths": factors, **made_by()}
        save_png(steered_grid(name, [(factor, pictures[factor]) for factor in factors]), out / name, told)
    _array(out, arms, pictures, chosen)
    numbers = {
        "settings": dict(settings),
        "notes": list(notes),
        "strengths": [
            {
                "strength": arm.factor,
                "samples": len(arm.x),
                "evaluations": arm.evaluations,
                "scores": [score.to_dict() for score in scores[arm.factor]],
                "guides": arm.scores,
                "warnings": list(arm.warnings),
            }
            for arm in arms
        ],
    }
    atomic_write_json(out / NUMBERS, numbers)
    write_page(
        out / PAGE, wishes=wishes, arms=arms, pictures=pictures, scores=scores, settings=settings, notes=notes
    )


def steered_grid(name: str, arms: "Sequence[tuple[float, Tensor]]") -> "Image":
    """The composed picture of a name, of strengths and the pictures (n, C, H, W) at each."""
    from windvane.tasks.steering import before_and_after, sweep_grid

    if name == GRID:
        return image_grid(arms[0][1][:MOST_IN_GRID].clamp(-1, 1))
    if name == BEFORE_AFTER:
        return before_and_after(arms[0][1], arms[1][1])
    return sweep_grid(arms)


def _pictures(out: Path, images: "Tensor", arm: "Arm", settings: Mapping[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    levels = to_uint8(images)
    about: list[dict[str, Any]] = []
    made_now: list[tuple[Any, Path, dict[str, Any]]] = []
    for row, seed in enumerate(arm.seeds.tolist()):
        made = {"seed": seed, "condition": settings["cluster"], "evaluations": arm.evaluations}
        told = {**settings, **made, **made_by()}
        told["machine"] = machine(images.device.type)
        made_now.append((to_picture(levels[row]), out / file_of(seed), told))
        about.append({"file": file_of(seed), **made})
    save_pngs(made_now)
    atomic_write_json(out / INDEX, {"settings": dict(settings), "made": len(about), "pictures": about})


def _array(out: Path, arms: "Sequence[Arm]", pictures: "Mapping[float, Tensor]", chosen: "Arm") -> None:
    import numpy as np

    columns = {
        "images": to_uint8(pictures[chosen.factor].clamp(-1, 1)),
        "unguided": to_uint8(pictures[arms[0].factor].clamp(-1, 1)),
        "seeds": chosen.seeds.numpy(),
    }
    with atomic_file(out / ARRAY) as temporary:
        np.savez_compressed(temporary, **columns)  # type: ignore[arg-type]
