"""`windvane steer`: the arms of a sweep, from the same seeds, and what they leave behind."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from windvane.cli.common.console import print_table, tell
from windvane.cli.common.errors import say
from windvane.cli.steer.checks import check_manner
from windvane.cli.steer.wishes import Asked, Manner, Target, make_wishes, open_target, warnings_said

if TYPE_CHECKING:
    from windvane.cli.common.config import Config
    from windvane.cli.common.sections import SampleSection
    from windvane.cli.steer.networks import Known
    from windvane.samplers import Sampler
    from windvane.tasks.steering import Arm, Wish


def one_process() -> str:
    """The device of this process.

    Raises:
        ValueError: a launcher started several, which would all do the same.
    """
    from windvane.cli.common.processes import processes

    group = processes()
    if group.count > 1:
        raise ValueError(f"steer runs in one process, not in {group.count}; start it without a launcher")
    return group.device


def steer_run(run: Path, out: Path, config: "Config", asked: Asked, manner: Manner) -> None:
    """Open the model, make guides and judges, sample every arm, measure, and write the folder."""
    from windvane.cli.common.again.orders import steering_order
    from windvane.cli.common.builders import build_sampler
    from windvane.cli.steer.files import BEFORE_AFTER, PAGE, settings_of, write_outputs
    from windvane.cli.steer.networks import NO_JUDGES, known_images, make_eyes, make_judges
    from windvane.tasks.steering import combined, measured, unjudged
    from windvane.tasks.steering.page import score_rows

    section = config.sample
    sampler = build_sampler(section)
    target = open_target(run, section, device=one_process())
    check_manner(asked, (), target, manner, sampler)
    known = known_images(config.data, target.shape) if config.data.source else None

    @functools.cache
    def images() -> "Known":
        return known or known_images(config.data, target.shape)

    eyes = make_eyes(asked, target, images, section.seed)
    with warnings_said():
        wishes = make_wishes(asked, eyes, target, images, judged=known)
    combined(wishes, preset=manner.preset)  # refuses what does not go together, before anything is sampled
    arms = _arms(target, wishes, section, manner, sampler)
    judges = make_judges(known, encoder=asked.looks, seed=section.seed)
    pictures = {arm.factor: target.pictures(arm.x).cpu() for arm in arms}
    scores = {factor: measured(judges, wishes, found) for factor, found in pictures.items()}
    notes = list(dict.fromkeys(text for arm in arms if arm.factor != 0 for text in arm.warnings))
    notes += [NO_JUDGES] if known is None else unjudged(wishes, scores[0.0])
    for text in notes:
        say(text)
    told = settings_of(target.about, wishes, section, manner, steering_order(asked, config))
    write_outputs(out, wishes=wishes, arms=arms, pictures=pictures, scores=scores, settings=told, notes=notes)
    heads, rows = score_rows(arms, scores)
    print_table(heads, rows, right=range(1, len(heads)))
    tell(f"\n{len(arms[0].x)} pictures in {out}; see {out / BEFORE_AFTER} and {out / PAGE}")


def _arms(
    target: Target, wishes: "list[Wish]", section: "SampleSection", manner: Manner, sampler: "Sampler"
) -> "list[Arm]":
    from windvane.tasks.steering import steer

    made = {
        factor: steer(
            target.denoiser,
            wishes,
            seeds=section.seed,
            n=section.n,
            factor=factor,
            preset=manner.preset,
            paper_scale=manner.paper_scale,
            backward=manner.inner,
            recurrences=manner.repeat,
            sampler=sampler,
            steps=section.steps,
            grid=section.grid,
            batch_size=section.batch_size,
            cond=target.cond,
            clip=target.clip,
        )
        # Guided ones first: what is wrong with a guide is then told with its noise level.
        for factor in sorted(manner.strengths, key=lambda factor: factor == 0)
    }
    return [made[factor] for factor in manner.strengths]
