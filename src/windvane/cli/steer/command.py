"""`windvane steer`: samples that follow a text, a picture, a class or a measurement; nothing is retrained."""

from pathlib import Path
from typing import Annotated

import typer

from windvane.cli.common.options import UserSettings, with_settings

#: The kinds of wishes, in the order of the flags. The library has the same ones, behind an import of torch.
KINDS = ("text", "like", "content", "style", "class", "measure")


@with_settings(
    "run out text like content style classes measure weights preset paper_scale backward repeat sweep "
    "encoder classifier trust data data.names evaluate sample.cluster sampler sample.steps sample.n "
    "sample.seed sample.batch_size config set",
    cluster="The cluster or class that a conditional model makes, whatever steers it.",
    n="How many pictures; 100 by default.",
    seed="Seed of the first picture.",
)
def steer(
    user: UserSettings,
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
            "--preset",
            help="universal (default; = steered but for --paper-scale), dps (= freedom), lgd, mpgd, tfg, "
            "elucd, adm (= sdg).",
        ),
    ] = None,
    paper_scale: Annotated[
        bool, typer.Option("--paper-scale", help="Weights are the paper's own, not fractions of the step.")
    ] = False,
    backward: Annotated[
        int | None,
        typer.Option(
            "--backward", metavar="N", help="universal, tfg: also N steps on the prediction itself."
        ),
    ] = None,
    repeat: Annotated[
        int | None, typer.Option("--repeat", metavar="N", help="Make each guided step N times (recurrence).")
    ] = None,
    sweep: Annotated[
        str | None, typer.Option("--sweep", metavar="0,0.5,1,2", help="All weights times each of these.")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            metavar="KIND:NAME",
            help="clip:, siglip: or sentences: with a folder or hub:NAME, for what texts and pictures mean.",
        ),
    ] = None,
    classifier: Annotated[
        str | None,
        typer.Option("--classifier", help="A judge, TorchScript, .pt2, or transformers model."),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Open a --classifier file that could run code of whoever made it."),
    ] = False,
    data: Annotated[
        str | None, typer.Option("--data", help="Images that guides and judges learn from.")
    ] = None,
    evaluate: Annotated[
        str | None,
        typer.Option(
            "--evaluate", metavar="KIND", help="SDG's protocol: text, like, content, style, or text+style."
        ),
    ] = None,
    sampler: Annotated[str | None, typer.Option("--sampler", help="ddim, ddpm, dpm++2m, unipc3, ...")] = None,
) -> None:
    """Steer a model trained without captions: by text, pictures, classes, measurements, or a mixture.

    Nothing is retrained. Texts and pictures are understood by a small encoder that learns from the run's own
    images, and is kept in the cache. Writes pictures, a grid of the same seeds without and with guidance,
    numbers measured by networks that did not guide, and a report.
    """
    from windvane.cli.common.folders import STEERED
    from windvane.cli.common.models import check_model_path, run_config, run_data
    from windvane.cli.steer.checks import check_wishes, parse_evaluate, parse_sweep, parse_weights
    from windvane.cli.steer.wishes import Manner, WishFlags

    flags = WishFlags(
        text or (), like or (), content or (), style or (), classes or (), measure or (),
        parse_weights(weights, KINDS), encoder, classifier, trust,
    )  # fmt: skip
    evaluated = () if evaluate is None else parse_evaluate(evaluate)
    strengths = tuple(dict.fromkeys([0.0, *(parse_sweep(sweep) or [1.0])]))
    check_wishes(flags, evaluated)
    for flag, number, least in (("--backward", backward, 0), ("--repeat", repeat, 1)):
        if number is not None and number < least:
            raise ValueError(f"{flag} is at least {least}, got {number}")
    STEERED.check(out)
    check_model_path(run)
    usual: dict[str, object] = {"data.source": data, "sample.sampler": sampler}
    if user.file is None and not user.names("sample.n"):
        usual["sample.n"] = 100
    base = run_config(run) or {"data": run_data(run)}
    made = user.config(base, usual)
    from windvane.cli.steer.protocol import evaluate_steering
    from windvane.cli.steer.run import steer_run
    from windvane.folders import claimed
    from windvane.tasks.steering import DEFAULT, method

    manner = Manner(preset or DEFAULT, paper_scale, strengths, backward or 0, repeat or 1)
    method(manner.preset)
    with claimed(out, STEERED):
        if evaluated:
            evaluate_steering(run, out, made, flags, evaluated, manner, n=user.flags.get("sample.n"))
        else:
            steer_run(run, out, made, flags, manner)
