"""Steered pictures once more: the same wishes, guides and strengths, from their own settings."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.again.orders import changed_files, config_of
from windvane.cli.common.again.original import Original
from windvane.cli.common.sampling import GRID
from windvane.cli.steer.files import PICTURES
from windvane.cli.steer.run import Steering
from windvane.cli.steer.wishes import Manner, WishFlags, open_target
from windvane.damage import reading

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


_MOST_ARMS = 100


def _steering_of(original: Original) -> Steering:
    """The steering that a picture's settings ask for."""
    from windvane.cli.common.builders import build_sampler
    from windvane.cli.steer.checks import check_wishes
    from windvane.tasks.steering import method

    image, settings, place = original.image, original.settings, original.place()
    with reading(image):
        order, sha256 = settings["order"], str(settings["weights_sha256"])
        trust, classifier = order["trust"], str(order["classifier"])[:80]
    if trust is not False:
        original.refuse_code(f"was steered by {classifier} with --trust, which could run code")
    with reading(image):
        flags, config, manner = _wishes_of(order), config_of(order), _manner(settings)
        for name in changed_files(order["files"]):
            original.differ(f"{name} is not the file that steered {image}")
    section = config.sample
    method(manner.preset)
    check_wishes(flags, ())
    sampler, target = build_sampler(section), open_target(place, section, device=original.device)
    if target.about["weights_sha256"] != sha256:
        original.differ(f"the {section.weights} weights of {place} are not those that made {image}")
    return Steering.of(target, config, flags, manner, sampler)


def _pictures(steering: Steering, factor: float, **which: Any) -> "Tensor":
    """Pictures (n, C, H, W) of the command at one strength."""
    arm = steering.arm(factor, progress=False, score=False, **which)
    return steering.target.pictures(arm.x).cpu()


def steered_again(original: Original) -> "tuple[Image, dict[str, Any]]":
    """A steered picture, alone or in the first one's batch, and its settings."""
    from windvane.cli.common.sampling import machine
    from windvane.pictures import to_picture, to_uint8

    image, settings = original.image, original.settings
    if "order" not in settings:
        raise ValueError(
            f"{image} does not say what steered it; windvane steer with the same flags makes it again"
        )
    with reading(image):
        section = config_of(settings["order"]).sample
        factor, seed = float(settings["strength"]), int(settings["seed"])
        row = seed - section.seed
        if not 0 <= row < section.n:
            raise ValueError(f"seed {seed} is none of its command's")
    steering = _steering_of(original)
    first = row - row % section.batch_size
    batch = range(first, min(first + section.batch_size, section.n))

    def levels(together: bool) -> Any:
        rows = batch if together else range(row, row + 1)
        seeds = [section.seed + one for one in rows]
        made = _pictures(steering, factor, seeds=seeds, batch_size=None)
        return to_uint8(made.clamp(-1, 1))[rows.index(row)]

    made, _ = original.levels(levels)
    told = {"model": str(original.place().resolve()), "machine": machine(steering.target.device.type)}
    return to_picture(made), {**settings, **told}


def steered_grid_again(original: Original) -> "tuple[Image, dict[str, Any]]":
    """A picture that `windvane steer` composed of several strengths, from as many batches as it shows."""
    from windvane.cli.steer.files import BEFORE_AFTER, MOST_IN_GRID, SWEEP, steered_grid

    settings = original.settings
    with reading(original.image):
        name, factors = settings["picture"], [float(one) for one in settings["strengths"]]
        arms = {GRID: 1, BEFORE_AFTER: 2}.get(name, len(factors) if name == SWEEP else 0)
        if len(factors) != arms or not 0 < arms <= _MOST_ARMS or not all(map(math.isfinite, factors)):
            raise ValueError(f"no steering leaves a picture {name!r:.40} of strengths {factors!r:.60}")
    steering = _steering_of(original)
    section = steering.section
    whole_batches = -(-MOST_IN_GRID // section.batch_size) * section.batch_size
    seeds = range(section.seed, section.seed + min(section.n, whole_batches))
    grid = steered_grid(name, [(factor, _pictures(steering, factor, seeds=seeds)) for factor in factors])
    return grid, {**settings, "model": str(original.place().resolve())}


def _wishes_of(order: Mapping[str, Any]) -> WishFlags:
    """The wishes of an order."""
    like, content, style = ([Path(one) for one in _texts(order[name])] for name in PICTURES)
    weights = {str(name): float(value) for name, value in order["wish_weights"].items()}
    encoder, classifier = (
        None if order[name] is None else str(order[name]) for name in ("encoder", "classifier")
    )
    text, classes, measure = (_texts(order[name]) for name in ("text", "class", "measure"))
    return WishFlags(text, like, content, style, classes, measure, weights, encoder, classifier)


def _texts(found: Any) -> list[str]:
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise TypeError("a list of texts is none")
    return found


def _manner(settings: Mapping[str, Any]) -> Manner:
    preset, scale = settings["preset"], settings["scale"]
    inner, repeat = settings["backward"], settings["repeat"]
    if not isinstance(preset, str) or scale not in ("paper", "relative"):
        raise ValueError(f"preset {preset!r:.40} of scale {scale!r:.40}")
    if type(inner) is not int or type(repeat) is not int or not (0 <= inner < 10**4 and 1 <= repeat < 10**4):
        raise ValueError(f"backward {inner!r:.40}, repeat {repeat!r:.40}")
    return Manner(preset, scale == "paper", (), inner, repeat)
