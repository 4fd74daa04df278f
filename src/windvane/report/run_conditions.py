"""What a run was conditioned on, on its page: clusters, boxes or masks, and samples made from them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from windvane.report.annotation_drawing import FOUND, coloured, draw_boxes, enlargement, paint_masks
from windvane.report.contents import cluster_cards, guided_table, side_for
from windvane.report.page import Report
from windvane.runs import Run

if TYPE_CHECKING:
    import numpy as np

    from windvane.annotate import Annotation, BoxAnnotation, MaskAnnotation
    from windvane.annotate.annotated import Annotated
    from windvane.annotate.regions import RegionAnnotation
    from windvane.conditions import Condition
    from windvane.data import ImageData

Draw = Callable[[Sequence[int], "Condition | None", float], Tensor]
_LEAST = 64


def kept(run: Run, train: "ImageData | None") -> "Annotated | None":
    """The annotation in the folder of a run; None for an unconditional one.

    Raises:
        ValueError: a damaged annotation, or one of other images.
    """
    from windvane.annotate import load_annotation, load_regions

    if (run.annotations / "regions.json").is_file():
        return load_regions(run.annotations, data=train)
    if (run.annotations / "annotation.json").is_file():
        return load_annotation(run.annotations, data=train)
    return None


def condition_sections(page: Report, run: Run, train: "ImageData", annotation: "Annotated") -> None:
    """Cluster cards, or random images with their boxes or masks, and the clusters beside boxes."""
    _SECTIONS[annotation.kind](page, run, train, annotation)


def _ids_sections(page: Report, run: Run, train: "ImageData", ids: "Annotation") -> None:
    page.section(ids.title, cluster_cards(train, ids), intro=_cluster_intro(ids))


def _box_sections(page: Report, run: Run, train: "ImageData", boxes: "BoxAnnotation") -> None:
    from windvane.report.annotation_facts import box_facts
    from windvane.report.annotation_parts import box_section
    from windvane.report.annotation_parts import cluster_cards as boxed_cards

    page.section("Boxes", box_section(train, boxes, box_facts(boxes), None), intro=_AT_RANDOM)
    if boxes.ids is not None:
        beside = beside_boxes(boxes, run.annotations, train)
        page.section("Clusters", boxed_cards(train, beside, boxes=boxes), intro=_cluster_intro(beside))


def _mask_sections(page: Report, run: Run, train: "ImageData", masks: "MaskAnnotation") -> None:
    from windvane.report.annotation_facts import mask_facts
    from windvane.report.annotation_parts import mask_section

    page.section("Masks", mask_section(train, masks, mask_facts(masks), None), intro=_AT_RANDOM)


_SECTIONS: dict[str, Callable[..., None]] = {
    "ids": _ids_sections, "boxes": _box_sections, "masks": _mask_sections
}  # fmt: skip
_AT_RANDOM = "Found or given before training; images drawn at random, not chosen."


def beside_boxes(boxes: "RegionAnnotation", folder: "str | Path", data: "ImageData") -> "Annotation":
    """The image-level annotation that was saved beside boxes with ids, or these ids alone where none was."""
    from windvane.annotate import Annotation, load_annotation
    from windvane.annotate.storage import BESIDE

    assert boxes.ids is not None
    place = Path(folder) / BESIDE
    if (place / "annotation.json").is_file():
        found = load_annotation(place, data=data)
        if found.k == boxes.k and torch.equal(found.ids, boxes.ids):
            return found
    return Annotation.given(boxes.ids, data, k=boxes.k, source="clusters beside the boxes")


def _cluster_intro(annotation: "Annotation") -> str:
    from windvane.annotate.control_spec import of_labels

    if annotation.source == "labels":
        return "The data's own labels: the control that self-labels are compared with."
    if of_labels(annotation.source):
        return f"A control made of the data's own labels: {annotation.source}."
    order = "members nearest to the centre first" if annotation.distances is not None else "members at random"
    return (
        f"Found without labels; largest first, {order}. Where the data has labels, the bars show them for "
        "comparison only."
    )


def guided(
    draw: Draw,
    annotation: "Annotated",
    train: "ImageData | None",
    weights: Sequence[float],
    *,
    rows: int,
    each: int,
    seed: int,
) -> str:
    """Samples of some conditions at each weight, beside real images that have the condition.

    Args:
        draw: samples of seeds, conditions and a weight.
        rows: how many conditions: the largest clusters, or boxes or masks of training images, which are drawn
            by ``seed``.
        each: seeds for each, the same ones in every row and at every weight.
    """
    return _GUIDED[annotation.kind](draw, annotation, train, weights, rows, each, seed)


def _guided_ids(
    draw: Draw,
    annotation: "Annotation",
    train: "ImageData | None",
    weights: Sequence[float],
    clusters: int,
    each: int,
    seed: int,
) -> str:
    chosen = annotation.sizes.argsort(descending=True, stable=True)[:clusters].tolist()
    ids = torch.tensor(chosen).repeat_interleave(each)
    seeds = list(range(seed, seed + each)) * len(chosen)
    made = [draw(seeds, annotation.condition(ids), weight) for weight in weights]
    side = side_for(made[0].shape[1:], 36, 56)
    title = "Label" if annotation.source == "labels" else "Cluster"
    rows = []
    for number, cluster in enumerate(chosen):
        span = slice(number * each, (number + 1) * each)
        real = train.batch(annotation.members(cluster, each)) if train is not None else made[0][:0]
        rows.append((f"{title} {cluster}", real, [part[span] for part in made]))
    return guided_table(rows, weights, side=side)


def _guided_regions(
    draw: Draw,
    regions: "RegionAnnotation",
    train: "ImageData | None",
    weights: Sequence[float],
    count: int,
    each: int,
    seed: int,
) -> str:
    from windvane.randomness import generator

    chosen = torch.randperm(len(regions), generator=generator(seed, 12))[:count]
    asked = regions.take(chosen.repeat_interleave(each))
    seeds = list(range(seed, seed + each)) * len(chosen)
    made = [draw(seeds, asked.condition(), weight) for weight in weights]
    rows, side = [], 1
    for number, image in enumerate(chosen.tolist()):
        span = slice(number * each, (number + 1) * each)
        same = asked.take(torch.arange(len(asked))[span])
        shown = [marked(part[span], same) for part in made]
        real = shown[0][:0] if train is None else marked(train.batch([image]), same.take(torch.tensor([0])))
        name = f"Image {image}"
        if regions.ids is not None:
            name += f", cluster {int(regions.ids[image])}"
        side = min(shown[0].shape[-2:])
        rows.append((name, real, shown))
    return guided_table(rows, weights, side=side)


_GUIDED: dict[str, Callable[..., str]] = {
    "ids": _guided_ids, "boxes": _guided_regions, "masks": _guided_regions
}  # fmt: skip


def marked(images: Tensor, regions: "RegionAnnotation", *, least: int = _LEAST) -> "np.ndarray":
    """Images ``(B, C, H, W)`` with the boxes or masks that were asked for, uint8 (B, 3, height, width)."""
    scale = enlargement(images.shape[-2], images.shape[-1], least)
    large = coloured(images, scale)
    if regions.named:
        return paint_masks(large, regions.maps(), scale)
    for row, image in enumerate(large):
        draw_boxes(image, regions.value(row)["boxes"], FOUND, scale)
    return large
