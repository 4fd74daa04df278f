"""What a model may be asked for, found in the user's pictures by the rules that annotated its images."""

from pathlib import Path
from typing import TYPE_CHECKING

from windvane.cli.common.annotations.finders import denoiser_maps
from windvane.cli.common.annotations.labels import check_features, features_of
from windvane.cli.common.conditions.files import files_in
from windvane.cli.common.conditions.vocabulary import KnownConditions
from windvane.cli.common.config import checked_yaml, make_config
from windvane.cli.common.models import run_config
from windvane.cli.common.sections import AnnotateSection

if TYPE_CHECKING:
    from torch import Tensor

    from windvane.annotate import Annotation, BoxAnnotation, MaskAnnotation
    from windvane.annotate.dense import DenseExtractor
    from windvane.annotate.features import FeatureExtractor

_IDS = "annotation.json"
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def ids_in(path: Path, asked: KnownConditions, annotations: Path | None) -> "Tensor":
    """Ids of one or more pictures; see :func:`regions_in`."""
    from windvane.annotate import load_annotation

    images, folder = _pictures(path, asked, annotations, _IDS)
    return load_annotation(folder, extractor=_features(_section(folder)))(images)


def regions_in(
    path: Path, asked: KnownConditions, annotations: Path | None
) -> "BoxAnnotation | MaskAnnotation":
    """Boxes (with the clusters beside them) or masks of one or more pictures.

    Args:
        path: a picture, or a folder of them; they are brought to the size of the model's as in training.
        asked: what the model knows.
        annotations: the folder of the run where its annotation is kept.

    Raises:
        ValueError: no pictures, no annotation, or one that says nothing about new images.
    """
    from windvane.annotate import load_annotation, load_regions, regions_of
    from windvane.annotate.storage import BESIDE

    images, folder = _pictures(path, asked, annotations, "regions.json")
    section = _section(folder)
    regions = load_regions(folder, extractor=_maps(section))
    beside: Annotation | None = None
    if asked.kind == "boxes" and (folder / BESIDE / _IDS).is_file():
        beside = load_annotation(folder / BESIDE, extractor=_features(section))
        # Clusters that came from a file have no rule; then ids are drawn as beside boxes drawn by hand.
        beside = None if beside.clusters is None else beside
    return regions_of(regions, images, labels=beside)


def _pictures(
    path: Path, asked: KnownConditions, annotations: Path | None, file: str
) -> "tuple[Tensor, Path]":
    """The pictures, and the folder of the annotation where ``file`` is."""
    if asked.kind in ("labels", "vectors"):
        raise ValueError(f"--like: this model was trained on {asked.kind}, which no rule finds in a picture")
    if annotations is None or not (annotations / file).is_file():
        raise ValueError(
            f"--like needs the annotation of the training images ({file}), which is not beside the model"
        )
    return read_pictures(path, asked), annotations


def _section(annotations: Path) -> AnnotateSection | None:
    """How the annotation of a run was made: by the run itself, or in the folder that it was trained on."""
    settings = run_config(annotations.parent)
    config = make_config(base=settings)
    if config.train.annotation is None:
        return config.annotate if settings else None
    file = Path(config.train.annotation) / "config.yaml"
    return make_config(base=checked_yaml(file)).annotate if file.is_file() else None


def _features(section: AnnotateSection | None) -> "FeatureExtractor | None":
    """Features of a model of the user's own, which no annotation keeps; None for all others."""
    if section is None or not section.features.startswith("denoiser:"):
        return None
    _check(section.features)
    made = features_of(section.features, seed=section.seed, flip=False, device="cpu")
    assert not isinstance(made, str)
    return made


def _maps(section: AnnotateSection | None) -> "DenseExtractor | None":
    """The same for boxes and masks."""
    if section is None or not section.dense.startswith("denoiser:"):
        return None
    _check(section.dense)
    return denoiser_maps(section)


def _check(text: str) -> None:
    try:
        check_features(text)
    except ValueError as error:
        raise ValueError(f"--like needs {text}, whose features the annotation is made of: {error}") from None


def read_pictures(path: Path, asked: KnownConditions) -> "Tensor":
    """Pictures ``(m, C, H, W)`` in [-1, 1] in the shape of the model's, sorted by name.

    Raises:
        ValueError: nothing there that can be read, or a model that does not say the shape of its pictures.
    """
    import numpy as np
    import torch

    from windvane.data.decode import Decoder
    from windvane.data.errors import UnreadableImage
    from windvane.pictures import from_uint8

    files = files_in(path, _PICTURES, what="picture")
    if asked.shape is None:
        raise ValueError("--like: the model does not say the shape of its pictures")
    channels, height, width = asked.shape
    decode = Decoder((height, width), channels)
    levels = []
    for file in files:
        try:
            levels.append(decode(file))
        except UnreadableImage as error:
            raise ValueError(f"{file}: {error}") from None
    return torch.from_numpy(from_uint8(np.stack(levels)))
