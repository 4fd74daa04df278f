"""`windvane steer`: samples that follow a text, a picture, a class or a measurement; nothing is retrained."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from windvane.cli.errors import say
from windvane.cli.options import ConfigFile, Settings

if TYPE_CHECKING:
    from windvane.cli.config import Config
    from windvane.cli.sections import SampleSection
    from windvane.cli.steering import Asked, Target
    from windvane.cli.steering_networks import Known
    from windvane.tasks.steering import Arm, Wish

#: The kinds of wishes, in the order of the flags. The library has the same ones, behind an import of torch.
KINDS = ("text", "like", "content", "style", "class", "measure")


def steer(
    run: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Folder of a run, of a model, or of a diffusers pipeline.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the pictures and the report.")] = Path(
        "steered"
    ),
    text: Annotated[list[str] | None, typer.Option("--text", help="A sentence; repeatable.")] = None,
    like: Annotated[
        list[Path] | None, typer.Option("--like", metavar="IMAGE", help="What is in this picture.")
    ] = None,
    content: Annotated[
        list[Path] | None, typer.Option("--content", metavar="IMAGE", help="The same, with its layout.")
    ] = None,
    style: Annotated[
        list[Path] | None, typer.Option("--style", metavar="IMAGE", help="The style of this picture.")
    ] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", metavar="C", help="A class, by name or number.")
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            "--measure",
            metavar="OP:FILE",
            help="inpaint=MASK:F, superres:F, blur=STD:F, motion-blur=LEN@ANGLE:F, grey:F, cs=RATIO:F.",
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", help="One number, or by kind: text=1,style=0.5. 0 is off.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset", help="universal (default), dps, lgd, freedom, mpgd, tfg, elucd, steered, adm, sdg."
        ),
    ] = None,
    paper_scale: Annotated[
        bool, typer.Option("--paper-scale", help="Weights are the paper's own, not fractions of the step.")
    ] = False,
    sweep: Annotated[
        str | None, typer.Option("--sweep", metavar="0,0.5,1,2", help="All weights times each of these.")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            metavar="KIND:NAME",
            help="clip:, siglip: or sentences: with a folder or hub name, for what texts and pictures mean.",
        ),
    ] = None,
    classifier: Annotated[
        str | None,
        typer.Option("--classifier", help="A judge, TorchScript, .pt2, or transformers model."),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Images that guides and judges learn from.")
    ] = None,
    evaluate: Annotated[
        str | None,
        typer.Option("--evaluate", metavar="KIND", help="SDG's protocol for text, like, content or style."),
    ] = None,
    sampler: Annotated[str | None, typer.Option("--sampler", help="ddim, ddpm, dpm++2m, unipc3, ...")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Sampling steps.")] = None,
    n: Annotated[int | None, typer.Option("--n", help="How many pictures; 100 by default.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the first picture.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Pictures at a time.")] = None,
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Steer a model trained without captions: by text, pictures, classes, measurements, or a mixture.

    Nothing is retrained. Texts and pictures are understood by a small encoder that learns from the run's own
    images in half a minute and is kept in the cache. Writes pictures, a grid of the same seeds without and
    with guidance, numbers measured by networks that did not guide, and a report.
    """
    from windvane.cli.config import make_config
    from windvane.cli.models import check_model_path, run_config
    from windvane.cli.steering import Asked, check_wishes, parse_sweep, parse_weights

    asked = Asked(
        text or (), like or (), content or (), style or (), classes or (), measure or (),
        parse_weights(weights, KINDS), encoder, classifier,
    )  # fmt: skip
    strengths = parse_sweep(sweep)
    check_wishes(asked, evaluate)
    if out.is_file():
        raise ValueError(f"--out is a folder, {out} is a file")
    check_model_path(run)
    base = run_config(run)
    flags = {
        "sample.sampler": sampler,
        "sample.steps": steps,
        "sample.n": n if n is not None else None if base or config or settings else 100,
        "sample.seed": seed,
        "sample.batch_size": batch_size,
        "data.source": data,
    }
    made = make_config(base=base, file=config, flags=flags, settings=settings or ())
    if evaluate is not None:
        from windvane.cli.steering_evaluate import evaluate_steering

        evaluate_steering(
            run, out, made, asked, evaluate, preset=preset, paper_scale=paper_scale, factors=strengths
        )
        return
    _steer(run, out, made, asked, preset=preset, paper_scale=paper_scale, strengths=strengths)


def _steer(
    run: Path,
    out: Path,
    config: "Config",
    asked: "Asked",
    *,
    preset: str | None,
    paper_scale: bool,
    strengths: list[float],
) -> None:
    import functools

    from windvane.cli.console import print_table
    from windvane.cli.processes import processes
    from windvane.cli.steering import make_wishes, open_target, warnings_said
    from windvane.cli.steering_networks import NO_JUDGES, known_images, make_eyes, make_judges
    from windvane.cli.steering_outputs import BEFORE_AFTER, PAGE, settings_of, write_outputs
    from windvane.tasks.steering import DEFAULT, combined, measured, method, unjudged
    from windvane.tasks.steering.page import score_rows

    section, preset = config.sample, preset or DEFAULT
    target = open_target(run, weights=section.weights, device=processes().device)

    method(preset)
    known = known_images(config.data, target.shape) if config.data.source else None

    @functools.cache
    def images() -> "Known":
        return known or known_images(config.data, target.shape)

    eyes = make_eyes(asked, target, images, section.seed)
    with warnings_said():
        wishes = make_wishes(asked, eyes, target, images, judged=known)
    combined(wishes, preset=preset)  # refuses what does not go together, before anything is sampled
    factors = list(dict.fromkeys([0.0, *(strengths or [1.0])]))
    arms = _arms(target, wishes, section, factors, preset=preset, paper_scale=paper_scale)
    judges = make_judges(known, encoder=asked.looks, seed=section.seed)
    pictures = {arm.factor: target.pictures(arm.x).cpu() for arm in arms}
    scores = {factor: measured(judges, wishes, found) for factor, found in pictures.items()}
    notes = list(dict.fromkeys(text for arm in arms if arm.factor != 0 for text in arm.warnings))
    notes += [] if known is not None else [NO_JUDGES]
    notes += [] if known is None else unjudged(wishes, scores[factors[0]])
    for text in notes:
        say(text)
    told = settings_of(target.about, wishes, section, preset=preset, paper_scale=paper_scale)
    write_outputs(out, wishes=wishes, arms=arms, pictures=pictures, scores=scores, settings=told, notes=notes)
    heads, rows = score_rows(arms, scores)
    print_table(heads, rows, right=range(1, len(heads)))
    print(f"\n{len(arms[0].x)} pictures in {out}; see {out / BEFORE_AFTER} and {out / PAGE}")


def _arms(
    target: "Target",
    wishes: "list[Wish]",
    section: "SampleSection",
    factors: list[float],
    *,
    preset: str,
    paper_scale: bool,
) -> "list[Arm]":
    from windvane.cli.build import build_sampler
    from windvane.cli.models import clip_of
    from windvane.tasks.steering import steer as run_steer

    made = {
        factor: run_steer(
            target.denoiser,
            wishes,
            seeds=section.seed,
            n=section.n,
            factor=factor,
            preset=preset,
            paper_scale=paper_scale,
            sampler=build_sampler(section),
            steps=section.steps,
            batch_size=section.batch_size,
            clip=clip_of(target.denoiser, section),
        )
        # Guided ones first: what is wrong with a guide is then told with its noise level.
        for factor in sorted(factors, key=lambda factor: factor == 0)
    }
    return [made[factor] for factor in factors]
