"""Boxes and masks of the training images by the settings of the section, and what there is to say."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from windvane.cli.annotating import IN_FILE, check_features, features_of, lines, make_annotation
from windvane.cli.sections import AnnotateSection

if TYPE_CHECKING:
    from windvane.annotate import Annotation, BoxAnnotation, MaskAnnotation
    from windvane.annotate.dense import DenseExtractor
    from windvane.annotate.region_robustness import Find
    from windvane.data import ImageData


@dataclass(frozen=True)
class Made:
    """Boxes or masks of the training images.

    ``labels`` are the image-level clusters beside boxes, ``told`` what there is to say, and ``find`` finds
    them in other images; it is None for those of a file.
    """

    regions: "BoxAnnotation | MaskAnnotation"
    labels: "Annotation | None"
    told: dict[str, Any]
    find: "Find | None"


def make_regions(
    section: AnnotateSection, data: "ImageData", *, flip: bool, device: str, progress: bool
) -> Made:
    """Boxes and the image-level clusters beside them, or masks; and what there is to say about them."""
    from windvane.annotate import BoxAnnotation

    find = None
    if section.coco is None:
        find = finder(section, data, flip=flip, device=device, progress=progress)
        found = find(data)
    else:
        found = _of_file(section, section.coco, data)
    told: dict[str, Any] = {"kind": found.kind, "n": len(found)}
    labels = None
    if isinstance(found, BoxAnnotation):
        labels, about = _beside(found, section, data, flip=flip, device=device, progress=progress)
        found = found.with_ids(labels.ids, labels.k)
        sides = (found.boxes[:, 2:] - found.boxes[:, :2]).double()
        share = sides.prod(1) / (found.size[0] * found.size[1])
        told |= {"boxes": len(found.boxes), "clusters": about}
        told |= {"area": {"mean": float(share.mean()), "median": float(share.median())}}
    else:
        shares = found.masks.flatten().bincount(minlength=found.k).double() / found.masks.numel()
        told |= {"k": found.k, "shares": shares.tolist()}
    if section.coco is not None:
        told["left_out"] = dict(found.origin.settings)
    told |= {"made_by": found.origin.made_by, "source": found.origin.source}
    return Made(found, labels, told, find)


def _of_file(section: AnnotateSection, file: str, data: "ImageData") -> "BoxAnnotation | MaskAnnotation":
    from windvane.annotate import boxes_from_coco, masks_from_coco

    if section.masks is None:
        boxes = boxes_from_coco(file, data=data)
        if not len(boxes.boxes):
            raise ValueError(f"{file} has no box that lies in the data's images")
        return boxes
    masks = masks_from_coco(file, data=data, background="next")
    if masks.k != section.masks:
        raise ValueError(f"{file} has masks of {masks.k} ids: give --masks {masks.k}")
    return masks


def _beside(
    boxes: "BoxAnnotation",
    section: AnnotateSection,
    data: "ImageData",
    *,
    flip: bool,
    device: str,
    progress: bool,
) -> "tuple[Annotation, dict[str, Any]]":
    """The image-level clusters beside boxes: those that came with them, or new ones."""
    from windvane.annotate import Annotation

    if boxes.ids is None:
        return make_annotation(section, data, flip=flip, device=device, progress=progress)
    given = Annotation.given(boxes.ids, data, k=boxes.k, source=f"{IN_FILE} {section.coco}")
    return given, given.report(data.labels)


def check_dense(text: str) -> None:
    """Refuse unknown dense features before anything is loaded."""
    from windvane.annotate.dense.spec import dense_kind

    if text.startswith("denoiser:") and text != "denoiser:":
        check_features(text)
    else:
        dense_kind(text)


def _dense(
    section: AnnotateSection, data: "ImageData", *, flip: bool, device: str, progress: bool
) -> "DenseExtractor":
    """The dense features of the settings: maps of the user's own denoiser, or what the library names."""
    from windvane.annotate import DenoiserFeatures
    from windvane.annotate.dense import DenoiserMaps
    from windvane.annotate.dense.spec import dense_features

    if section.dense.startswith("denoiser:"):
        features = features_of(section.dense, seed=section.seed, flip=flip, device=device)
        assert isinstance(features, DenoiserFeatures)
        return DenoiserMaps(features)
    return dense_features(section.dense, data, seed=section.seed, flip=flip, device=device, progress=progress)


def finder(section: AnnotateSection, data: "ImageData", *, flip: bool, device: str, progress: bool) -> "Find":
    """What finds boxes or masks in any images, learnt on ``data`` where something is learnt."""
    from windvane.annotate import find_boxes, find_masks
    from windvane.annotate.masks import PatchClusters, Stego

    dense = _dense(section, data, flip=flip, device=device, progress=progress)
    if section.masks is None:
        # The published method takes the keys of a transformer as they are; other features are centred.
        centre = not section.dense.startswith("hub:")
        return partial(
            find_boxes,
            extractor=dense,
            method=section.method,
            centre=centre,
            device=device,
            progress=progress,
        )
    if section.segmenter == "stego":
        stego = Stego(dense, section.masks, flip=flip, seed=section.seed)
        return partial(
            find_masks, segmenter=stego.fit(data, progress=progress, device=device), progress=progress
        )
    # Lifted as for the learnt features' own contrast; raw patches are clustered as they are.
    lift = 0.3 if section.dense.startswith("restoration") else None
    clusters = PatchClusters(dense, section.masks, seed=section.seed, normalise=lift is not None, lift=lift)
    return partial(find_masks, segmenter=clusters.fit(data, progress=progress), progress=progress)


def found_again(
    section: AnnotateSection, find: "Find", data: "ImageData", *, flip: bool, device: str, progress: bool
) -> dict[str, Any]:
    """Whether what was found comes back: from changed images, and learnt from other seeds where any matter.

    Where a network is learnt that costs as much again, so one other seed has to do.
    """
    from windvane.annotate.region_robustness import region_stability

    learnt = section.dense.split(":")[0] in ("restoration", "encoder")
    by_seed = learnt or section.masks is not None
    network = learnt or (section.masks is not None and section.segmenter == "stego")
    most = min(section.stability, 2) if network else section.stability
    refits = {}
    for seed in range(section.seed + 1, section.seed + most if by_seed else 0):
        other = section.model_copy(update={"seed": seed})
        refits[seed] = _quiet(finder(other, data, flip=flip, device=device, progress=progress))
    return region_stability(_quiet(find), data, refits=refits, seed_used=section.seed)


def _quiet(find: "Find") -> "Find":
    return partial(find, progress=False)  # type: ignore[call-arg]


def region_lines(told: dict[str, Any]) -> list[str]:
    """What a user wants to know about boxes or masks, in a few lines."""
    left = [f"{count} {name.replace('_', ' ')}" for name, count in told.get("left_out", {}).items()]
    more = [f"left out of the file: {', '.join(left)}"] if left else []
    if told["kind"] == "masks":
        shares = ", ".join(f"{share:.0%}" for share in told["shares"])
        text = f"masks of {told['n']} images by {told['source']}: {told['k']} ids, shares of pixels {shares}"
        return [text, *more]
    area = told["area"]
    text = (
        f"{told['boxes']} boxes in {told['n']} images by {told['source']}, on average {area['mean']:.0%} of "
        f"an image (median {area['median']:.0%})"
    )
    return [text, *more, *lines(told["clusters"])]
