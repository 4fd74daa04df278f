"""Steered pictures once more: the same wishes, guides and strengths, from their own settings."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.again.orders import asked_of, changed_files, config_of
from windvane.cli.common.sampling import GRID
from windvane.cli.steer.wishes import Manner, Target, make_wishes, open_target, warnings_said
from windvane.damage import reading

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from windvane.cli.common.config import Config
    from windvane.samplers import Sampler
    from windvane.tasks.steering import Wish

_MOST_ARMS = 100


@dataclass(frozen=True)
class Steering:
    """A steering as it was asked for, with its guides at hand."""

    config: "Config"
    manner: Manner
    target: Target
    wishes: "Sequence[Wish]"
    sampler: "Sampler"

    @property
    def device(self) -> str:
        """The kind of device that it runs on."""
        return self.target.device.type

    def pictures(self, rows: Sequence[int], factor: float, *, batch_size: int | None = None) -> "Tensor":
        """The pictures (n, C, H, W) of some rows of the command at one strength."""
        from windvane.tasks.steering import steer

        section = self.config.sample
        arm = steer(
            self.target.denoiser,
            self.wishes,
            seeds=[section.seed + row for row in rows],
            factor=factor,
            preset=self.manner.preset,
            paper_scale=self.manner.paper_scale,
            backward=self.manner.inner,
            recurrences=self.manner.repeat,
            sampler=self.sampler,
            steps=section.steps,
            grid=section.grid,
            batch_size=batch_size,
            cond=self.target.cond,
            clip=self.target.clip,
            progress=False,
            score=False,
        )
        return self.target.pictures(arm.x).cpu()


def steering_of(
    image: Path, settings: Mapping[str, Any], place: Path, *, device: str, differ: Callable[[str], None]
) -> Steering:
    """The steering that a picture's settings ask for.

    Args:
        place: where the model is now.
        differ: called with what is no longer as it was.
    """
    import functools

    from windvane.cli.common.builders import build_sampler
    from windvane.cli.steer.checks import check_manner, check_wishes
    from windvane.cli.steer.networks import known_images, make_eyes
    from windvane.tasks.steering import combined, method

    with reading(image):
        order, sha256 = settings["order"], str(settings["weights_sha256"])
        asked, config, manner = asked_of(order), config_of(order), _manner(settings)
        for name in changed_files(order["files"]):
            differ(f"{name} is not the file that steered {image}")
    section = config.sample
    method(manner.preset)
    check_wishes(asked, ())
    sampler, target = build_sampler(section), open_target(place, section, device=device)
    if target.about["weights_sha256"] != sha256:
        differ(f"the {section.weights} weights of {place} are not those that made {image}")
    check_manner(asked, (), target, manner, sampler)

    @functools.cache
    def images() -> Any:
        return known_images(config.data, target.shape)

    known = images() if config.data.source else None
    eyes = make_eyes(asked, target, images, section.seed)
    with warnings_said():
        wishes = make_wishes(asked, eyes, target, images, judged=known)
    combined(wishes, preset=manner.preset)
    return Steering(config, manner, target, wishes, sampler)


def steered_again(
    image: Path, settings: Mapping[str, Any], place: Path, *, device: str, differ: Callable[[str], None]
) -> tuple[Callable[[bool], Any], str]:
    """What makes the levels (C, H, W) of a steered picture, alone or in the first one's batch.

    Returns:
        A function of "in its batch?", and the kind of device that it runs on.
    """
    from windvane.pictures import to_uint8

    with reading(image):
        section = config_of(settings["order"]).sample
        factor, seed = float(settings["strength"]), int(settings["seed"])
        row = seed - section.seed
        if not 0 <= row < section.n:
            raise ValueError(f"seed {seed} is none of its command's")
    steering = steering_of(image, settings, place, device=device, differ=differ)
    first = row - row % section.batch_size
    together = range(first, min(first + section.batch_size, section.n))

    def levels(batch: bool) -> Any:
        rows = list(together) if batch else [row]
        return to_uint8(steering.pictures(rows, factor).clamp(-1, 1))[rows.index(row)]

    return levels, steering.device


def steered_grid_again(
    image: Path, settings: Mapping[str, Any], place: Path, *, device: str, differ: Callable[[str], None]
) -> "Image":
    """A picture that `windvane steer` composed of several strengths, from as many batches as it shows."""
    from windvane.cli.steer.files import BEFORE_AFTER, MOST_IN_GRID, SWEEP, steered_grid

    with reading(image):
        name, factors = settings["picture"], [float(one) for one in settings["strengths"]]
        arms = {GRID: 1, BEFORE_AFTER: 2}.get(name, len(factors) if name == SWEEP else 0)
        if len(factors) != arms or not 0 < arms <= _MOST_ARMS or not all(map(math.isfinite, factors)):
            raise ValueError(f"no steering leaves a picture {name!r:.40} of strengths {factors!r:.60}")
    steering = steering_of(image, settings, place, device=device, differ=differ)
    section = steering.config.sample
    whole = -(-MOST_IN_GRID // section.batch_size) * section.batch_size
    rows = range(min(section.n, whole))
    return steered_grid(
        name, [(factor, steering.pictures(rows, factor, batch_size=section.batch_size)) for factor in factors]
    )


def _manner(settings: Mapping[str, Any]) -> Manner:
    preset, scale = settings["preset"], settings["scale"]
    inner, repeat = settings["backward"], settings["repeat"]
    if not isinstance(preset, str) or scale not in ("paper", "relative"):
        raise ValueError(f"preset {preset!r:.40} of scale {scale!r:.40}")
    if type(inner) is not int or type(repeat) is not int or not (0 <= inner < 10**4 and 1 <= repeat < 10**4):
        raise ValueError(f"backward {inner!r:.40}, repeat {repeat!r:.40}")
    return Manner(preset, scale == "paper", (), inner, repeat)
