"""The page of a run: everything its folder knows, and samples made for the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.report import folder
from windvane.report.contents import memorisation, metric_table, training_curves
from windvane.report.page import Report
from windvane.report.parts import facts, note
from windvane.report.run_conditions import Draw, condition_sections, guided, kept
from windvane.runs import Run

if TYPE_CHECKING:
    import torch

    from windvane.annotate.annotated import Annotated
    from windvane.conditions import Condition
    from windvane.data import ImageData
    from windvane.denoiser import NetworkDenoiser


def run_report(
    path: str | Path,
    *,
    out: str | Path | None = None,
    train: "ImageData | None" = None,
    held_out: "ImageData | None" = None,
    sample: bool = True,
    weights: Sequence[float] = (1.0, 2.0, 4.0),
    clusters: int = 8,
    per_cluster: int = 5,
    check: int = 200,
    steps: int = 40,
    batch_size: int = 64,
    seed: int = 0,
    device: "torch.device | str | None" = None,
    progress: bool = True,
) -> Path:
    """Write the page of a run and return its path.

    Args:
        path: the folder of the run.
        out: the file; default report.html in the run.
        train, held_out: the images the run was trained on and those it was not; without the first there are
            no cluster cards and no search for copies.
        sample: whether to make samples for the page, by DDIM.
        weights: guidance weights shown side by side: the same seeds and clusters at each.
        clusters, per_cluster: how many of the largest clusters, or of boxes or masks of training images, are
            sampled, and how often.
        check: samples compared with the training images.
        steps, batch_size, seed, device: of the sampling.

    Raises:
        ValueError: no run there, or training images that do not belong to its annotation.
    """
    run = Run(path, create=False)
    annotation = kept(run, train)
    model = _model(run, device) if sample else None
    evaluations = folder.evaluations(run)
    rows = run.read_metrics()
    page = Report(run.path.resolve().name, subtitle=folder.subtitle(run, annotation))
    page.section(
        "Summary", facts(folder.key_numbers(run, train, annotation, rows, evaluations)), *folder.warnings(run)
    )
    if train is not None and annotation is not None:
        condition_sections(page, run, train, annotation)
    if model is not None:

        def draw(seeds: Sequence[int], cond: "Condition | None", weight: float) -> "torch.Tensor":
            return _draw(model, seeds, cond, weight, steps=steps, batch_size=batch_size, progress=progress)

        if annotation is not None:
            body = guided(draw, annotation, train, weights, rows=clusters, each=per_cluster, seed=seed)
            page.section("Guided samples", body, intro=_GUIDED)
        if train is not None:
            _memorisation(page, draw, annotation, train, held_out, check, seed)
    if previews := folder.previews(run):
        page.section(
            "On the way", *previews, intro="Samples of the averaged weights, always of the same seeds."
        )
    if rows:
        page.section("Training", training_curves(rows))
    if evaluations:
        page.section("Metrics", metric_table(evaluations), intro=_METRICS)
    page.section("Data", folder.data_table(run, train, held_out, annotation))
    page.section("Settings", folder.settings_text(run))
    return page.write(out or run.report)


_GUIDED = (
    "The same seeds along each row: only the guidance weight w changes. More weight follows the condition "
    "more closely and varies less; too much leaves the range of real pictures."
)
_METRICS = (
    "Arrows say which direction is better. Values compare only where features and numbers of images are the "
    "same; small type gives the 95 % interval."
)


def _model(run: Run, device: Any) -> "NetworkDenoiser | None":
    if not run.model.is_dir():
        return None
    from windvane.checkpoint import load, read_description

    names = read_description(run.model)["weights"]
    return load(run.model, "ema" if "ema" in names else names[0], device=device)


def _draw(
    model: "NetworkDenoiser",
    seeds: Sequence[int],
    cond: "Condition | None",
    weight: float,
    *,
    steps: int,
    batch_size: int,
    progress: bool,
) -> "torch.Tensor":
    from windvane.guidance import ClassifierFree
    from windvane.samplers import DDIM, sample

    guided = ClassifierFree(model, weight)
    made = sample(
        guided,
        seeds=list(seeds),
        cond=cond,
        sampler=DDIM(),
        steps=steps,
        batch_size=batch_size,
        clip=1.0,
        progress=progress,
    )
    return made.x.cpu().clamp(-1, 1)


def _memorisation(
    page: Report,
    draw: Draw,
    annotation: "Annotated | None",
    train: "ImageData",
    held_out: "ImageData | None",
    check: int,
    seed: int,
) -> None:
    from windvane.metrics import Pixels, nearest_training_images

    seeds = list(range(seed + 10_000, seed + 10_000 + check))
    cond = None if annotation is None else annotation.drawn(seeds)
    made = draw(seeds, cond, 1.0)
    try:
        found = nearest_training_images(made, train, Pixels(), held_out=held_out)
    except ValueError as error:  # such as data of nothing but repeats; the rest of the page is still good
        page.section("Copies?", note(str(error)))
        return
    page.section(
        "Copies?",
        memorisation(found, made, train),
        intro=f"The nearest of {check} samples beside the training image that each is nearest to, by pixels.",
    )
