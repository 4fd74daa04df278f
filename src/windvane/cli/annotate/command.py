"""`windvane annotate`: cluster ids for unlabelled images."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from windvane.cli.common.console import tell
from windvane.cli.common.options import MOST_MINUTES, UserSettings, with_settings

if TYPE_CHECKING:
    from windvane.annotate.work import Work
    from windvane.cli.common.config import Config
    from windvane.cli.common.datasets import Parts
    from windvane.cli.common.processes import Processes
    from windvane.cli.common.stages import Stages
    from windvane.time_budget import TimeBudget


@with_settings(
    "data.source out annotate.features annotate.k annotate.boxes annotate.masks method annotate.dense "
    "annotate.coco annotate.overlap export export_pixels annotate.control report minutes annotate.seed "
    "data.size data.names data.strict config preset set",
)
def annotate(
    user: UserSettings,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the annotation.")] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="Boxes: lost, ncut. Masks: clusters, stego.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option("--export", help="Also write boxes or masks as COCO-style JSON.")
    ] = None,
    export_pixels: Annotated[
        str, typer.Option("--export-pixels", help="Of --export: original (of the files), or data.")
    ] = "original",
    report: Annotated[
        bool,
        typer.Option(
            "--report",
            help="More on the page, report.html: refits on changed images, other numbers of clusters, "
            "distances to held-out images.",
        ),
    ] = False,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0.1, max=MOST_MINUTES, help="Fit what is learnt to this time."),
    ] = None,
) -> None:
    """Give every training image a cluster id, a box, or a mask, from the images alone.

    Labels, if the data has any, are only compared with the clusters afterwards.
    """
    from windvane.cli.common.annotations.finders import REGION_CONTROLS
    from windvane.cli.common.annotations.labels import check_features, tell_idle
    from windvane.cli.common.annotations.pacing import check_minutes
    from windvane.cli.common.datasets import check_source
    from windvane.cli.common.folders import check_annotation_folder, claimed_annotation
    from windvane.cli.common.processes import processes
    from windvane.folders import check_file
    from windvane.time_budget import TimeBudget

    budget = None if minutes is None else TimeBudget(minutes)
    if out is None:
        raise ValueError("where to? windvane annotate DATA --out DIR")
    made = user.config()
    dense = user.flags.get("annotate.dense")
    told = [name for name, flag in (("method", method), ("dense", dense), ("export", export)) if flag]
    _check_kind(made, told, user.settings)
    if method is not None:  # of boxes or of masks: only the whole configuration says of which
        made = user.config(defaults={f"annotate.{'method' if made.annotate.boxes else 'segmenter'}": method})
    if export is not None and export.is_dir():
        raise ValueError(f"--export is a file such as boxes.json, {export} is a folder")
    if export is not None:
        check_file(export, mark=b"windvane", what="the exported regions")
    if export_pixels not in ("original", "data"):
        raise ValueError(f"--export-pixels is original or data, got {export_pixels!r}")
    check_source(made.data)
    check_annotation_folder(out, made.data.source)
    check_features(made.annotate.features)
    check_minutes(minutes)
    tell_idle(made, user.flags.get("annotate.k"))
    regions = made.annotate.boxes or made.annotate.masks is not None
    if not regions and made.annotate.control in REGION_CONTROLS:
        raise ValueError(f"--control {made.annotate.control} is for --boxes or --masks K")
    group = processes()
    with claimed_annotation(out, made.data.source) if group.first else nullcontext():
        if regions:
            original = export_pixels == "original"
            _regions(made, out, export, group, original=original, report=report, budget=budget)
        else:
            _annotate(made, out, group, report=report, budget=budget)


def _check_kind(config: "Config", told: list[str], settings: list[str]) -> None:
    """Refuse flags without effect: of regions where none are made, of finding them beside a file."""
    section = config.annotate
    if not section.boxes and section.masks is None:
        if told:
            flags = " and ".join(f"--{name}" for name in told)
            raise ValueError(f"{flags}: belongs to --boxes or --masks K")
        return
    finding = ("method", "dense", "segmenter")
    names = {text.partition("=")[0].strip().removeprefix("annotate.") for text in settings}
    idle = [name for name in finding if name in told or name in names]
    if section.coco is not None and idle:
        kind = "boxes" if section.boxes else "masks"
        raise ValueError(
            f"{' and '.join(idle)} would have no effect: --coco takes the {kind} from {section.coco}, and "
            "finds none"
        )


def _annotate(
    config: "Config", out: Path, group: "Processes", *, report: bool, budget: "TimeBudget | None"
) -> None:
    from windvane.cli.common.annotations.labels import REPORT, lines, make_annotation
    from windvane.cli.common.annotations.page import show_page
    from windvane.cli.common.config import write_yaml
    from windvane.files import atomic_write_json, atomic_write_text
    from windvane.hashes import sealed, sealed_text

    config, parts, stages = _opened(config, group, budget)
    work = _work(config, group)
    annotation, told = make_annotation(
        config.annotate, parts.train, work, flip=config.train.flip, stages=stages
    )
    if not group.first:
        return
    annotation.save(out)
    atomic_write_json(out / REPORT, sealed(told))
    atomic_write_text(out / "config.yaml", sealed_text(write_yaml(config)))
    if parts.train.scan is not None:
        atomic_write_json(out / "scan.json", sealed(parts.train.scan.to_dict()))
    for line in lines(told):
        tell(line)
    show_page(config, out, parts, str(group.device), stages, report=report)


def _opened(
    config: "Config", group: "Processes", budget: "TimeBudget | None"
) -> "tuple[Config, Parts, Stages]":
    """The images, and the configuration with as many steps as fit into the budget; says what is held out."""
    from windvane.cli.common.annotations.pacing import paced
    from windvane.cli.common.datasets import open_parts
    from windvane.cli.common.errors import say
    from windvane.cli.common.stages import Stages

    if group.first and group.count > 1:
        say(f"{group.count} processes annotate together")
    stages = Stages(group.first)
    with stages("images"):
        parts = open_parts(config.data, quiet=not group.first)
    if parts.held_out is not None:
        many, total = len(parts.held_out), len(parts.held_out) + len(parts.train)
        stages.tell(
            f"{many} of {total} images are held out, for measuring later, and get no annotation "
            f"(data.holdout={config.data.holdout:g}); --set data.holdout=0 takes all"
        )
    return paced(config, parts.train, budget, device=str(group.device)), parts, stages


def _work(config: "Config", group: "Processes") -> "Work":
    from windvane.annotate import Group
    from windvane.cli.common.annotations.labels import work_of

    shared = Group(group.rank, group.count)
    return work_of(config.annotate, device=group.device, progress=group.first, group=shared)


def _regions(
    config: "Config",
    out: Path,
    export: Path | None,
    group: "Processes",
    *,
    original: bool,
    report: bool,
    budget: "TimeBudget | None",
) -> None:
    from windvane.annotate import Group, original_sizes, write_coco
    from windvane.annotate.storage import BESIDE
    from windvane.cli.common.annotations.finders import check_regions
    from windvane.cli.common.annotations.labels import REPORT
    from windvane.cli.common.annotations.page import show_page
    from windvane.cli.common.annotations.regions import found_again, make_regions, region_lines
    from windvane.cli.common.config import write_yaml
    from windvane.files import atomic_write_json, atomic_write_text
    from windvane.hashes import sealed, sealed_text

    check_regions(config.annotate)
    config, parts, stages = _opened(config, group, budget)
    flip, work = config.train.flip, _work(config, group)
    made = make_regions(config.annotate, parts.train, work, flip=flip, stages=stages)
    if not group.first:
        return
    if report and made.find is not None:
        with stages("comparison with changed images and other seeds"):
            seen = replace(work, group=Group(), progress=True)
            made.told["region_stability"] = found_again(
                config.annotate, made.find, parts.train, seen, flip=flip
            )
    made.regions.save(out)
    if made.labels is not None:
        made.labels.save(out / BESIDE)
    atomic_write_json(out / REPORT, sealed(made.told))
    atomic_write_text(out / "config.yaml", sealed_text(write_yaml(config)))
    for line in region_lines(made.told):
        tell(line)
    if export is not None:
        sizes = original_sizes(parts.train) if original else None
        write_coco(made.regions, export, names=parts.train.names, sizes=sizes)
        tell(f"COCO-style JSON in {export}")
    show_page(config, out, parts, str(group.device), stages, report=report)
