"""What a run was conditioned on, on its page: clusters, boxes or masks, and samples made from them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from windvane.report.annotation_drawing import FOUND, coloured, draw_boxes, enlargement, paint_masks
from windvane.report.contents import cluster_cards, guided_table, side_for
from windvane.report.folder import title_of
from windvane.report.page import Report
from windvane.runs import Run

if TYPE_CHECKING:
    import numpy as np

    from windvane.annotate import Annotation, BoxAnnotation, MaskAnnotation
    from windvane.conditions import Condition
    from windvane.data import ImageData

    Regions = BoxAnnotation | MaskAnnotation
    Given = Annotation | Regions

Draw = Callable[[Sequence[int], "Condition | None", float], Tensor]
_LEAST = 64


def kept(run: Run, train: "ImageData | None") -> "Given | None":
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


def of_training(annotation: "Given", seeds: Sequence[int]) -> "Condition":
    """Conditions as often as in the training images, the i-th by ``seeds[i]`` alone."""
    from windvane.annotate import Annotation, draw_ids

    if isinstance(annotation, Annotation):
        return annotation.condition(draw_ids(annotation.sizes, list(seeds)))
    return annotation.condition(draw_ids(torch.ones(len(annotation)), list(seeds)))


def condition_sections(page: Report, run: Run, train: "ImageData", annotation: "Given") -> None:
    """Cluster cards, or random images with their boxes or masks, and the clusters beside boxes."""
    from windvane.annotate import Annotation, BoxAnnotation
    from windvane.report.annotation_facts import box_facts, mask_facts
    from windvane.report.annotation_parts import box_section, mask_section
    from windvane.report.annotation_parts import cluster_cards as boxed_cards

    if isinstance(annotation, Annotation):
        page.section(title_of(annotation), cluster_cards(train, annotation), intro=_cluster_intro(annotation))
    elif isinstance(annotation, BoxAnnotation):
        page.section("Boxes", box_section(train, annotation, box_facts(annotation), None), intro=_AT_RANDOM)
        if annotation.ids is not None:
            beside = beside_boxes(annotation, run.annotations, train)
            page.section(
                "Clusters", boxed_cards(train, beside, boxes=annotation), intro=_cluster_intro(beside)
            )
    else:
        page.section("Masks", mask_section(train, annotation, mask_facts(annotation), None), intro=_AT_RANDOM)


_AT_RANDOM = "Found or given before training; images drawn at random, not chosen."


def beside_boxes(boxes: "BoxAnnotation", folder: "str | Path", data: "ImageData") -> "Annotation":
    """The image-level annotation that was saved beside boxes with ids, or these ids alone where none was."""
    from windvane.annotate import Annotation, load_annotation
    from windvane.annotate.region_storage import BESIDE

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
    annotation: "Given",
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
    from windvane.annotate import Annotation

    if isinstance(annotation, Annotation):
        return _guided_ids(draw, annotation, train, weights, rows, each, seed)
    return _guided_regions(draw, annotation, train, weights, rows, each, seed)


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
    regions: "Regions",
    train: "ImageData | None",
    weights: Sequence[float],
    count: int,
    each: int,
    seed: int,
) -> str:
    from windvane.annotate import BoxAnnotation
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
        if isinstance(regions, BoxAnnotation) and regions.ids is not None:
            name += f", cluster {int(regions.ids[image])}"
        side = min(shown[0].shape[-2:])
        rows.append((name, real, shown))
    return guided_table(rows, weights, side=side)


def marked(images: Tensor, regions: "Regions", *, least: int = _LEAST) -> "np.ndarray":
    """Images ``(B, C, H, W)`` with the boxes or masks that were asked for, uint8 (B, 3, height, width)."""
    from windvane.annotate import MaskAnnotation

    scale = enlargement(images.shape[-2], images.shape[-1], least)
    large = coloured(images, scale)
    if isinstance(regions, MaskAnnotation):
        return paint_masks(large, regions.masks, scale)
    for image, boxes in zip(large, regions.each()):
        draw_boxes(image, boxes.tolist(), FOUND, scale)
    return large
