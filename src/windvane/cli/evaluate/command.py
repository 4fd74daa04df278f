"""`windvane evaluate`: numbers about a run, about a folder of samples, or about any images."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from windvane.cli.common.options import Reference, UserSettings, with_settings

if TYPE_CHECKING:
    from windvane.cli.common.config import Config


@with_settings(
    "target reference out evaluate.n sample.weight sample.guidance evaluate.features evaluate.metrics "
    "config set",
    weight="Guidance weight of those.",
)
def evaluate(
    user: UserSettings,
    target: Annotated[
        Path | None, typer.Argument(metavar="RUN_OR_SAMPLES", help="A run, a folder of samples, or images.")
    ] = None,
    reference: Reference = None,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the numbers.")] = None,
) -> None:
    """Measure quality, diversity, agreement and memorisation, with intervals.

    A run is compared with the images held out from its training, and samples with those of the run they come
    from, unless --reference names others. The numbers go to metrics.json beside the samples.
    """
    from windvane.cli.common.datasets import check_source
    from windvane.cli.evaluate.run import METRICS, check_metrics_file, check_target

    if target is None:
        raise ValueError("what? windvane evaluate RUN, or windvane evaluate SAMPLES")
    base = check_target(target)
    if out is not None or target.is_dir():
        check_metrics_file(out or target / METRICS)
    made = user.config(base)
    if reference is not None:
        check_source(made.data.model_copy(update={"source": reference}), wanted="reference")
    elif not base:
        raise ValueError(f"{target} does not tell what it was trained on; name images with --reference DATA")
    else:
        told = made.data.source == base.get("data", {}).get("source")
        check_source(made.data, wanted="reference", told_by=target if told else None)
    _evaluate(target, reference, out, made, weight_given="sample.weight" in user.flags, known=bool(base))


def shortened(name: str) -> str:
    """A feature space without its settings, which are in metrics.json: `pca(...)#1a2b` -> `pca#1a2b`."""
    return re.sub(r"\([^()]*=[^()]*\)", "", name)


def _evaluate(
    target: Path,
    reference: str | None,
    out: Path | None,
    config: "Config",
    *,
    weight_given: bool,
    known: bool,
) -> None:
    from windvane.cli.common.console import print_table, tell
    from windvane.cli.evaluate.run import measure, open_setting, write_metrics
    from windvane.metrics import to_rows

    setting = open_setting(target, config, reference=reference, known=known, weight_given=weight_given)
    metrics = measure(setting, config.evaluate)
    path = write_metrics(setting, metrics, out)
    head, *rows = to_rows(metrics)
    print_table(head, [[shortened(cell) for cell in row] for row in rows], right=[1, 2, 4, 5], keep=3)
    for metric in metrics:
        baseline = metric.details.get("baseline_mean")
        if baseline is not None and metric.name != "copies":
            tell(f"{metric.name}: {metric.details['baseline']} have {baseline:.4g}")
        if "sanity" in metric.details and metric.name in ("precision", "density"):
            scores = ", ".join(f"{name} {value:.3g}" for name, value in metric.details["sanity"].items())
            tell(f"{metric.name} of what no model made: {scores}")
        for note in ("unfit", "beyond"):
            if note in metric.details:
                tell(f"{metric.name}: {metric.details[note]}")
    tell(f"{setting.title}; numbers in {path}")
