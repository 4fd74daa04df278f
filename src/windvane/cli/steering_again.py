"""One steered picture once more: the same wishes, guides and strength, from its own settings."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from windvane.cli.again_orders import asked_of, changed_files, config_of
from windvane.cli.steering import Manner
from windvane.damage import reading


def steered_again(
    image: Path, settings: Mapping[str, Any], place: Path, *, device: str, differ: Callable[[str], None]
) -> tuple[Callable[[bool], Any], str]:
    """What makes the levels (C, H, W) of a steered picture, alone or in the first one's batch.

    Args:
        place: where the model is now.
        differ: called with what is no longer as it was.
    Returns:
        A function of "in its batch?", and the kind of device that it runs on.
    """
    import functools

    from windvane.cli.build import build_sampler
    from windvane.cli.sampling import grid_of
    from windvane.cli.steering import make_wishes, open_target, warnings_said
    from windvane.cli.steering_checks import check_manner, check_wishes
    from windvane.cli.steering_networks import known_images, make_eyes
    from windvane.pictures import to_uint8
    from windvane.tasks.steering import combined, method, steer

    with reading(image):
        order = settings["order"]
        asked, config, manner = asked_of(order), config_of(order), _manner(settings)
        factor, seed = float(settings["strength"]), int(settings["seed"])
        row = seed - config.sample.seed
        if not 0 <= row < config.sample.n:
            raise ValueError(f"seed {seed} is none of its command's")
        for name in changed_files(order["files"]):
            differ(f"{name} is not the file that steered {image}")
    section = config.sample
    method(manner.preset)
    check_wishes(asked, ())
    sampler, target = build_sampler(section), open_target(place, section, device=device)
    if target.about["weights_sha256"] != settings["weights_sha256"]:
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
    first = row - row % section.batch_size
    together = range(first, min(first + section.batch_size, section.n))

    def levels(batch: bool) -> Any:
        rows = list(together) if batch else [row]
        arm = steer(
            target.denoiser,
            wishes,
            seeds=[section.seed + one for one in rows],
            factor=factor,
            preset=manner.preset,
            paper_scale=manner.paper_scale,
            backward=manner.inner,
            recurrences=manner.repeat,
            sampler=sampler,
            steps=section.steps,
            grid=grid_of(section.grid),
            cond=target.cond,
            clip=target.clip,
            progress=False,
            score=False,
        )
        return to_uint8(target.pictures(arm.x).cpu().clamp(-1, 1))[rows.index(row)]

    return levels, target.device.type


def _manner(settings: Mapping[str, Any]) -> Manner:
    preset, scale = settings["preset"], settings["scale"]
    inner, repeat = settings["backward"], settings["repeat"]
    if not isinstance(preset, str) or scale not in ("paper", "relative"):
        raise ValueError(f"preset {preset!r:.40} of scale {scale!r:.40}")
    if type(inner) is not int or type(repeat) is not int or not (0 <= inner < 10**4 and 1 <= repeat < 10**4):
        raise ValueError(f"backward {inner!r:.40}, repeat {repeat!r:.40}")
    return Manner(preset, scale == "paper", (float(settings["strength"]),), inner, repeat)
