"""Boxes and masks of the training images by the settings of the section, and what there is to say."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from windvane.cli.common.annotations.finders import finder
from windvane.cli.common.annotations.labels import IN_FILE, lines, make_annotation
from windvane.cli.common.errors import say
from windvane.cli.common.sections import AnnotateSection
from windvane.cli.common.stages import Stages

if TYPE_CHECKING:
    from windvane.annotate import Annotation, BoxAnnotation, MaskAnnotation
    from windvane.annotate.regions.robustness import Find
    from windvane.annotate.work import Work
    from windvane.data import ImageData

    Regions = BoxAnnotation | MaskAnnotation


@dataclass(frozen=True)
class Made:
    """Boxes or masks of the training images.

    ``labels`` are the image-level clusters beside boxes, ``told`` what there is to say, and ``find`` finds
    them in other images; it is None for those of a file.
    """

    regions: "Regions"
    labels: "Annotation | None"
    told: dict[str, Any]
    find: "Find | None"


def make_regions(
    section: AnnotateSection, data: "ImageData", work: "Work", *, flip: bool, stages: Stages | None = None
) -> Made:
    """Boxes and the image-level clusters beside them, or masks; and what there is to say about them.

    What is learnt and found is kept in the cache, so that a killed command goes on where it was.
    """
    from windvane.annotate import moved_regions, shuffled_regions
    from windvane.annotate.regions.boxes.coco_export import NAMES

    stages = Stages(aloud=False) if stages is None else stages
    kind = "boxes" if section.masks is None else "masks"
    find, found = None, cast(Any, None)  # of the kind that the settings say
    if section.coco is None:
        if not section.dense.startswith("hub:"):
            stages.begin()
        with _warnings_said(work.group.rank == 0), stages(kind):
            find = finder(section, data, work, flip=flip)
            found = find(data)
    else:
        with stages(f"{kind} of {section.coco}"):
            found = _of_file(section, section.coco, data)
    stages.begin()
    if section.control is not None:
        control = shuffled_regions if section.control == "shuffled" else moved_regions
        # Whether a control comes back is no question, so there is nothing to find it again with.
        found, find = control(found, seed=section.seed), None
    told: dict[str, Any] = {"kind": found.kind, "n": len(found)}
    labels = None
    if section.masks is None:
        beside = section.model_copy(update={"control": None})
        labels, about = _beside(found, beside, data, work, flip=flip, stages=stages)
        found = found.with_ids(labels.ids, labels.k)
        sides = (found.boxes[:, 2:] - found.boxes[:, :2]).double()
        share = sides.prod(1) / (found.size[0] * found.size[1])
        told |= {"boxes": len(found.boxes), "clusters": about}
        told |= {"area": {"mean": float(share.mean()), "median": float(share.median())}}
    else:
        shares = found.masks.flatten().bincount(minlength=found.k).double() / found.masks.numel()
        told |= {"k": found.k, "shares": shares.tolist()}
        told |= {NAMES: found.origin.settings[NAMES]} if NAMES in found.origin.settings else {}
    if section.coco is not None:
        told["overlap"] = section.overlap
        told["left_out"] = {name: many for name, many in found.origin.settings.items() if name != NAMES}
    told |= {"made_by": found.origin.made_by, "source": found.origin.source}
    return Made(found, labels, told, find)


@contextmanager
def _warnings_said(aloud: bool) -> Iterator[None]:
    """Warnings as lines to the user, once and without the place in the source."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for text in dict.fromkeys(str(one.message) for one in caught if issubclass(one.category, UserWarning)):
        if aloud:
            say(f"warning: {text}")


def _of_file(section: AnnotateSection, file: str, data: "ImageData") -> "Regions":
    from windvane.annotate import boxes_from_coco, masks_from_coco
    from windvane.annotate.regions.boxes.coco_export import NAMES

    if section.masks is None:
        boxes = boxes_from_coco(file, data=data)
        if not len(boxes.boxes):
            raise ValueError(f"{file} has no box that lies in the data's images{_why_none(boxes)}")
        return boxes
    masks = masks_from_coco(file, data=data, background="next", overlap=section.overlap)
    if masks.k != section.masks:
        raise ValueError(f"{file} has masks of {masks.k} ids: give --masks {masks.k}")
    if bool((masks.masks == len(masks.origin.settings[NAMES])).all()):  # the id of pixels without a mask
        raise ValueError(f"{file} has no mask that lies in the data's images{_why_none(masks)}")
    return masks


def _why_none(found: "Regions") -> str:
    """What was left out of a file, behind the line that nothing was left."""
    from windvane.annotate.regions.boxes.coco_export import NAMES

    counts = {name: count for name, count in found.origin.settings.items() if name != NAMES}
    return "".join(f"; {line}" for line in _left_out(counts, None))


def _beside(
    boxes: "BoxAnnotation",
    section: AnnotateSection,
    data: "ImageData",
    work: "Work",
    *,
    flip: bool,
    stages: Stages,
) -> "tuple[Annotation, dict[str, Any]]":
    """The image-level clusters beside boxes: those that came with them, or new ones."""
    from windvane.annotate import Annotation

    if boxes.ids is None:
        return make_annotation(section, data, work, flip=flip, stages=stages)
    given = Annotation.given(boxes.ids, data, k=boxes.k, source=f"{IN_FILE} {section.coco}")
    return given, given.report(data.labels)


def found_again(
    section: AnnotateSection, find: "Find", data: "ImageData", work: "Work", *, flip: bool
) -> dict[str, Any]:
    """Whether what was found comes back: from changed images, and learnt from other seeds where any matter.

    Where a network is learnt that costs as much again, so one other seed has to do.
    """
    from windvane.annotate.regions.robustness import region_stability

    learnt = section.dense.split(":")[0] in ("restoration", "encoder")
    by_seed = learnt or section.masks is not None
    network = learnt or (section.masks is not None and section.segmenter == "stego")
    most = min(section.stability, 2) if network else section.stability
    refits, quiet = {}, work.alone()  # of images that nobody will ask for again
    again: Find = partial(find, work=quiet)  # type: ignore[call-arg]
    for seed in range(section.seed + 1, section.seed + most if by_seed else 0):
        other = section.model_copy(update={"seed": seed})
        refits[seed] = partial(finder(other, data, work, flip=flip), work=quiet)  # type: ignore[call-arg]
    with warnings.catch_warnings():
        # What there is to warn of was said when the images themselves were looked at.
        warnings.simplefilter("ignore", UserWarning)
        return region_stability(again, data, refits=refits, seed_used=section.seed)


def _left_out(counts: dict[str, int], overlap: str | None) -> list[str]:
    """What of a file was left out, clipped, or lies below something else."""
    every = {name.replace("_", " "): count for name, count in counts.items()}
    hidden = every.pop("overlapping masks", 0)
    clipped = {name: count for name, count in every.items() if name.startswith("clipped ")}
    said = [
        f"{what}: " + ", ".join(f"{count} {name.removeprefix('clipped ')}" for name, count in of.items())
        for what, of in (
            ("left out of the file", {name: count for name, count in every.items() if name not in clipped}),
            ("clipped to their image", clipped),
        )
        if of
    ]
    return [*said, f"{hidden} masks overlap others: the {overlap} one is on top"] if hidden else said


def region_lines(told: dict[str, Any]) -> list[str]:
    """What a user wants to know about boxes or masks, in a few lines."""
    more = _left_out(told.get("left_out", {}), told.get("overlap"))
    if told["kind"] == "masks":
        names = [f"{name} " for name in told.get("names", [])] + [""] * told["k"]  # a file may have them
        shares = ", ".join(f"{name}{share:.0%}" for name, share in zip(names, told["shares"]))
        text = f"masks of {told['n']} images by {told['source']}: {told['k']} ids, shares of pixels {shares}"
        return [text, *more]
    area = told["area"]
    text = (
        f"{told['boxes']} boxes in {told['n']} images by {told['source']}, on average {area['mean']:.0%} of "
        f"an image (median {area['median']:.0%})"
    )
    return [text, *more, *lines(told["clusters"])]
