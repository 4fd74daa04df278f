"""`windvane stitch`: what two models or more give together, over the cost."""

from pathlib import Path
from typing import Annotated

import typer

from windvane.cli.common.options import Reference, UserSettings, with_settings


@with_settings(
    "models out budget parts by reference sample.n evaluate.features sample.seed sample.cluster "
    "sample.weight sample.sampler sample.steps sample.grid sample.batch_size config set",
    n="Pictures of each point; default 1000.",
    seed="Seed of the first picture.",
    sampler="As of windvane sample.",
)
def stitch(
    user: UserSettings,
    models: Annotated[
        list[Path], typer.Argument(metavar="SMALL... LARGE", help="Runs or models, the cheapest first.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the table and the plot.")] = Path("stitched"),
    budget: Annotated[
        float | None,
        typer.Option("--budget", metavar="SHARE", help="Pick the best point of at most this share of LARGE."),
    ] = None,
    parts: Annotated[
        int, typer.Option("--parts", min=1, max=1_000, help="Shares in multiples of 1 / PARTS.")
    ] = 10,
    by: Annotated[str, typer.Option("--by", help="Switch by the share of steps, t or log_snr.")] = "steps",
    reference: Reference = None,
) -> None:
    """Let SMALL take the noisiest steps and LARGE the rest: quality over cost, with nothing trained.

    For every division of the steps: the Fréchet distance to held-out images, the calls of each model and the
    operations of a picture; and LARGE alone with fewer steps at the same costs. The models share process,
    size of pictures and condition.
    """
    from windvane.cli.common.datasets import check_source
    from windvane.cli.common.folders import STITCHED
    from windvane.cli.common.models import check_model_path, run_config
    from windvane.cli.stitch.run import stitch_models
    from windvane.folders import claimed

    if len(models) < 2:
        raise ValueError("which models? windvane stitch SMALL LARGE --out DIR, the cheapest first")
    if budget is not None and not 0 < budget <= 1:
        raise ValueError(f"--budget is a share of the cost of LARGE, above 0 and at most 1, got {budget:g}")
    STITCHED.check(out)
    for path in models:
        check_model_path(path)
    base = run_config(models[-1])
    made = user.config(base, {"sample.n": 1000})
    known = bool(base)
    if reference is not None:
        check_source(made.data.model_copy(update={"source": reference}), wanted="reference")
    elif not known:
        raise ValueError(f"{models[-1]} does not tell what it was trained on; name images: --reference DATA")
    with claimed(out, STITCHED):
        stitch_models(
            models,
            made,
            out=out,
            budget=budget,
            parts=parts,
            by=by,
            reference=reference,
            known=known,
            weight_given=user.names("sample.weight"),
        )
