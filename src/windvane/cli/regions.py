"""Boxes and masks of the training images by the settings of the section, and what there is to say."""

from typing import TYPE_CHECKING, Any

from windvane.cli.annotating import BESIDE, check_features, features_of, lines, make_annotation
from windvane.cli.sections import AnnotateSection

if TYPE_CHECKING:
    from windvane.annotate import Annotation, BoxAnnotation, MaskAnnotation
    from windvane.annotate.dense import DenseExtractor
    from windvane.data import ImageData


def make_regions(
    section: AnnotateSection, data: "ImageData", *, flip: bool, device: str, progress: bool
) -> "tuple[BoxAnnotation | MaskAnnotation, Annotation | None, dict[str, Any]]":
    """Boxes and the image-level clusters beside them, or masks; and what there is to say about them."""
    from windvane.annotate import boxes_from_coco, masks_from_coco

    told: dict[str, Any] = {}
    if section.masks is not None:
        found = (
            _masks(section, data, flip=flip, device=device, progress=progress)
            if section.coco is None
            else masks_from_coco(section.coco, data=data, background="next")
        )
        if found.k != section.masks:
            raise ValueError(f"{section.coco} has masks of {found.k} ids: give --masks {found.k}")
        shares = found.masks.flatten().bincount(minlength=found.k).double() / found.masks.numel()
        told |= {"kind": "masks", "n": len(found), "k": found.k, "shares": shares.tolist()}
        told |= {"left_out": dict(found.origin.settings)} if section.coco else {}
        return found, None, {**told, "made_by": found.origin.made_by, "source": found.origin.source}
    if section.coco is None:
        boxes = _boxes(section, data, flip=flip, device=device, progress=progress)
    else:
        boxes = boxes_from_coco(section.coco, data=data)
        if not len(boxes.boxes):
            raise ValueError(f"{section.coco} has no box that lies in the data's images")
    labels, about = _beside(boxes, section, data, flip=flip, device=device, progress=progress)
    boxes = boxes.with_ids(labels.ids, labels.k)
    sides = (boxes.boxes[:, 2:] - boxes.boxes[:, :2]).double()
    share = sides.prod(1) / (boxes.size[0] * boxes.size[1])
    told |= {"kind": "boxes", "n": len(boxes), "boxes": len(boxes.boxes), "clusters": about}
    told |= {"area": {"mean": float(share.mean()), "median": float(share.median())}}
    told |= {"left_out": dict(boxes.origin.settings)} if section.coco else {}
    return boxes, labels, {**told, "made_by": boxes.origin.made_by, "source": boxes.origin.source}


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
    given = Annotation.given(boxes.ids, data, k=boxes.k, source=f"{BESIDE} {section.coco}")
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


def _boxes(
    section: AnnotateSection, data: "ImageData", *, flip: bool, device: str, progress: bool
) -> "BoxAnnotation":
    from windvane.annotate import find_boxes

    dense = _dense(section, data, flip=flip, device=device, progress=progress)
    # The published method takes the keys of a transformer as they are; other features are centred.
    centre = not section.dense.startswith("hub:")
    return find_boxes(data, dense, method=section.method, centre=centre, device=device, progress=progress)


def _masks(
    section: AnnotateSection, data: "ImageData", *, flip: bool, device: str, progress: bool
) -> "MaskAnnotation":
    from windvane.annotate import find_masks
    from windvane.annotate.masks import PatchClusters, Stego

    assert section.masks is not None
    dense = _dense(section, data, flip=flip, device=device, progress=progress)
    if section.segmenter == "stego":
        stego = Stego(dense, section.masks, flip=flip, seed=section.seed)
        return find_masks(data, stego.fit(data, progress=progress, device=device), progress=progress)
    # Lifted as for the learnt features' own contrast; raw patches are clustered as they are.
    lift = 0.3 if section.dense.startswith("restoration") else None
    clusters = PatchClusters(dense, section.masks, seed=section.seed, normalise=lift is not None, lift=lift)
    return find_masks(data, clusters.fit(data, progress=progress), progress=progress)


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
