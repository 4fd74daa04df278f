"""`windvane steer`: the arms of a sweep, from the same seeds, and what they leave behind."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.console import print_table, tell
from windvane.cli.common.datasets import usable_cache
from windvane.cli.common.errors import say, warnings_said
from windvane.cli.steer.checks import check_manner
from windvane.cli.steer.wishes import Manner, WishFlags, make_wishes, open_target

if TYPE_CHECKING:
    from windvane.cli.common.config import Config
    from windvane.cli.common.sections import SampleSection
    from windvane.samplers import Sampler
    from windvane.tasks.steering import Arm, Wish
    from windvane.tasks.steering.guides import SteeredModel, SteeringImages


@dataclass(frozen=True)
class Steering:
    """A steering as it was asked for, with its guides at hand.

    Args:
        known: the images that judges learn from, where any are named.
    """

    section: "SampleSection"
    manner: Manner
    target: "SteeredModel"
    wishes: "Sequence[Wish]"
    sampler: "Sampler"
    known: "SteeringImages | None"

    @classmethod
    def of(
        cls, target: "SteeredModel", config: "Config", flags: WishFlags, manner: Manner, sampler: "Sampler"
    ) -> "Steering":
        """Check what is asked for, and make or open the guides."""
        from windvane.cli.steer.networks import known_images, make_eyes
        from windvane.tasks.steering import combined

        check_manner(flags, (), target, manner, sampler)
        known = known_images(config.data, target.shape) if config.data.source else None

        @functools.cache
        def images() -> "SteeringImages":
            return known or known_images(config.data, target.shape)

        eyes = make_eyes(flags, target, images, config.sample.seed)
        with warnings_said():
            wishes = make_wishes(flags, eyes, target, images, judged=known)
        combined(
            wishes, preset=manner.preset
        )  # refuses what does not go together, before anything is sampled
        return cls(config.sample, manner, target, wishes, sampler, known)

    def arm(self, factor: float, **which: Any) -> "Arm":
        """Samples of one strength; ``which`` of them, as :func:`~windvane.tasks.steering.steer` has it."""
        from windvane.tasks.steering import steer

        options = steering_options(self.section, self.manner, self.target, self.sampler)
        return steer(self.target.denoiser, self.wishes, factor=factor, **{**options, **which})


def steering_options(
    section: "SampleSection", manner: Manner, target: "SteeredModel", sampler: "Sampler"
) -> dict[str, Any]:
    """How to sample under guides, for the library's functions."""
    return {
        **manner.options(),
        "sampler": sampler,
        "steps": section.steps,
        "grid": section.grid,
        "batch_size": section.batch_size,
        "cond": target.cond,
        "clip": target.clip,
    }


def steer_run(run: Path, out: Path, config: "Config", flags: WishFlags, manner: Manner) -> None:
    """Open the model, make guides and judges, sample every arm, measure, and write the folder."""
    from windvane.cli.common.builders import build_sampler
    from windvane.cli.common.processes import sole_device
    from windvane.cli.steer.files import BEFORE_AFTER, PAGE, settings_of, steering_order, write_outputs
    from windvane.cli.steer.networks import NO_JUDGES
    from windvane.tasks.steering import measured, unjudged
    from windvane.tasks.steering.guides import make_judges
    from windvane.tasks.steering.page import score_rows

    section = config.sample
    sampler = build_sampler(section)
    target = open_target(run, section, device=sole_device("steer"))
    steering = Steering.of(target, config, flags, manner, sampler)
    wishes, known = steering.wishes, steering.known
    # Guided ones first: what is wrong with a guide is then told with its noise level.
    order = sorted(manner.strengths, key=lambda factor: factor == 0)
    by_strength = {factor: steering.arm(factor, seeds=section.seed, n=section.n) for factor in order}
    arms = [by_strength[factor] for factor in manner.strengths]
    judges = make_judges(known, encoder=flags.looks, seed=section.seed, cache=usable_cache, tell=say)
    pictures = {arm.factor: target.pictures(arm.x).cpu() for arm in arms}
    scores = {factor: measured(judges, wishes, images) for factor, images in pictures.items()}
    notes = list(dict.fromkeys(text for arm in arms if arm.factor != 0 for text in arm.warnings))
    notes += [NO_JUDGES] if known is None else unjudged(wishes, scores[0.0])
    for text in notes:
        say(text)
    settings = settings_of(target.about, wishes, section, manner, steering_order(flags, config))
    write_outputs(
        out, wishes=wishes, arms=arms, pictures=pictures, scores=scores, settings=settings, notes=notes
    )
    heads, rows = score_rows(arms, scores)
    print_table(heads, rows, right=range(1, len(heads)))
    tell(f"\n{len(arms[0].x)} pictures in {out}; see {out / BEFORE_AFTER} and {out / PAGE}")
