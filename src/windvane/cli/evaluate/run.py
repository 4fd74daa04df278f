"""From a run, a folder of samples or any images to what the metrics need."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.config import Config
from windvane.cli.common.datasets import Parts, eyes, open_images, open_parts, reference_images
from windvane.cli.common.models import run_config
from windvane.cli.common.processes import processes
from windvane.cli.common.sampling import INDEX, read_index, sample_run
from windvane.cli.common.sections import EvaluateSection
from windvane.files import atomic_write_json
from windvane.folders import check_file
from windvane.hashes import sealed

if TYPE_CHECKING:
    from torch import Tensor

    from windvane.annotate import Annotation
    from windvane.data import ImageData
    from windvane.metrics import Metric

METRICS = "metrics.json"


@dataclass(frozen=True)
class EvaluationSetting:
    """What is measured: samples against a reference, and all that is known about both.

    Attributes:
        title: what the samples are, in words.
        folder: where the numbers go.
        asked: the id asked for in each sample, `annotation` the rule that gives ids to images, if any.
        parts: the images of the run, if it is known; training images serve as the memorisation check.
    """

    title: str
    folder: Path
    samples: "ImageData"
    reference: "ImageData"
    parts: Parts | None = None
    asked: "Tensor | None" = None
    annotation: "Annotation | None" = None
    settings: dict[str, Any] | None = None


def check_target(target: Path) -> dict[str, Any]:
    """The settings of the run that `target` is or comes from, {} where they are not known; needs no torch."""
    if not target.exists():
        raise ValueError(f"there is no run, folder of samples or file of images at {target}")
    if (target / INDEX).is_file():
        return run_config(Path(read_index(target)["settings"].get("model", "")))
    if (target / "config.yaml").is_file() and (target / "state").exists() and not (target / "model").is_dir():
        raise ValueError(f"the run {target} has no model yet; it is saved with the first checkpoint")
    return run_config(target)


def open_setting(
    target: Path, config: Config, *, reference: str | None, known: bool, weight_given: bool
) -> EvaluationSetting:
    """Open everything; for a run, make its samples first.

    Raises:
        ValueError: too few images for the metrics; known before any sample is made.
    """
    made_by = target
    if (target / INDEX).is_file():
        made_by = Path(read_index(target)["settings"].get("model", ""))
    parts = open_parts(config.data, beside=made_by, name_damaged=False) if known else None
    if (target / "model").is_dir():
        images = reference_images(config.data, reference, parts, _shape(target, parts))
        held_out = reference is None and parts is not None and parts.held_out is not None
        check_counts(config, images, eyes(parts, images, config.evaluate)[1], held_out=held_out)
        folder, title = _sampled(target, config, weight_given)
        run = target
    elif (target / INDEX).is_file():
        index = read_index(target)
        folder, title = target, _title(index)
        run = Path(index["settings"].get("model", "")).parent
    else:
        section = config.data.model_copy(update={"source": str(target), "names": None, "limit": None})
        samples = open_images(section)
        if parts is not None and section.channels is None and samples.shape[0] != parts.train.shape[0]:
            # One side is grey, the other is not: both are compared as colours.
            coloured = config.data.model_copy(update={"channels": 3})
            samples = open_images(section.model_copy(update={"channels": 3}), quiet=True)
            parts = open_parts(coloured, quiet=True)
        elif reference is not None and section.channels is None and samples.shape[0] == 1:
            # Grey pictures are compared with coloured ones as colours, too.
            size = samples.shape[1] if samples.shape[1] == samples.shape[2] else None
            update = {"source": reference, "names": None, "size": size, "limit": None}
            if open_images(config.data.model_copy(update=update), quiet=True).shape[0] == 3:
                samples = open_images(section.model_copy(update={"channels": 3}), quiet=True)
        return EvaluationSetting(
            f"{len(samples)} images of {target}",
            target if target.is_dir() else target.parent,
            samples,
            reference_images(config.data, reference, parts, samples.shape),
            parts,
        )
    index = read_index(folder)
    samples = sample_images(folder, index)
    ids = [picture["condition"] for picture in index["pictures"]]
    return EvaluationSetting(
        title,
        folder,
        samples,
        reference_images(config.data, reference, parts, samples.shape),
        parts,
        _ids(ids),
        _annotation(run, parts),
        index["settings"],
    )


def check_counts(config: Config, reference: "ImageData", extractor: Any, *, held_out: bool) -> None:
    """Refuse metrics that the images to compare with, or the samples to be made, are too few for.

    Args:
        extractor: the feature space, whose number of features is looked up on one image.
        held_out: the reference was held out of the run's data, so a larger share can be.

    Raises:
        ValueError: an unknown metric, or too few images, with how many it takes.
    """
    from windvane.metrics import METRICS, extract_features
    from windvane.metrics.manifold import MANIFOLD

    section = config.evaluate
    wanted = METRICS if section.metrics is None else section.metrics
    unknown = [name for name in wanted if name not in METRICS]
    if unknown:
        raise ValueError(f"unknown metrics {unknown}; known: {', '.join(METRICS)}")
    least, why = 1, ""
    if set(wanted) & set(MANIFOLD):
        least, why = section.neighbours + 1, f"{section.neighbours} neighbours (evaluate.neighbours)"
    if "frechet" in wanted and not section.allow_few:
        dim = extract_features(reference.subset([0]), extractor).shape[1]
        if dim >= least:
            least, why = dim + 1, f"the Fréchet distance in {dim} features (--set evaluate.allow_few=true)"
    if section.n < least:
        raise ValueError(f"{section.n} samples are too few for {why}: --n {least} or more")
    if len(reference) >= least:
        return
    share = config.data.holdout
    more = (
        f", which takes {math.ceil(least / share)} images in all at data.holdout={share:g}"
        if held_out
        else ""
    )
    raise ValueError(
        f"{len(reference)} images to compare with are too few for {why}: at least {least} are needed{more}; "
        "or fewer features (--features pca:N), other images (--reference DATA), other metrics (--metric kid)"
    )


def _shape(run: Path, parts: Parts | None) -> tuple[int, ...]:
    """(C, H, W) of the pictures that a run will make."""
    if parts is not None:
        return tuple(parts.train.shape)
    from windvane.checkpoint import read_description

    shape = read_description(run / "model")["shape"]
    if shape is None:
        raise ValueError(f"the model of {run} does not say the shape of its pictures")
    return tuple(shape)


def sample_images(folder: Path, index: dict[str, Any]) -> "ImageData":
    """The pictures of a folder of samples."""
    import numpy as np

    from windvane.data import ImageData
    from windvane.pictures import read_pixels

    names = [picture["file"] for picture in index["pictures"]]
    return ImageData(np.stack([read_pixels(folder / name) for name in names]), names=names)


def _sampled(run: Path, config: Config, weight_given: bool) -> tuple[Path, str]:
    section = config.sample.model_copy(update={"n": config.evaluate.n})
    folder = sample_run(run, section, out=None, group=processes(), weight_given=weight_given)
    return folder, _title(read_index(folder))


def _title(index: dict[str, Any]) -> str:
    settings = index["settings"]
    return (
        f"{len(index['pictures'])} samples at weight {settings['weight']:g}, {settings['sampler']}, "
        f"{settings['steps']} steps, {settings['weights']} weights of step {settings['step']}"
    )


def _ids(conditions: Sequence[Any]) -> "Tensor | None":
    if not all(isinstance(condition, int) for condition in conditions):
        return None
    import torch

    return torch.tensor(conditions, dtype=torch.int64)


def _annotation(run: Path, parts: Parts | None) -> "Annotation | None":
    if not (run / "annotations" / "annotation.json").is_file():
        return None
    from windvane.annotate import load_annotation

    return load_annotation(run / "annotations", data=parts.train if parts else None)


class _Rule:
    """An annotation as the metrics want it: a callable with the name of its version."""

    def __init__(self, annotation: "Annotation") -> None:
        self.annotation = annotation
        self.name = f"{annotation.k} clusters of {annotation.extractor_name}"

    def __call__(self, images: "Tensor") -> "Tensor":
        return self.annotation(images)


def measure(setting: EvaluationSetting, section: EvaluateSection) -> "list[Metric]":
    """All metrics that the setting allows."""
    from windvane.metrics import evaluate, majority_labels

    train = setting.parts.train if setting.parts else None
    judge, extractor = eyes(setting.parts, setting.reference, section)
    by_labels = setting.annotation is not None and setting.annotation.source == "labels"
    clusters = None if by_labels else setting.annotation
    meaning = None
    if clusters is not None and train is not None and train.labels is not None:
        meaning = majority_labels(clusters.ids, train.labels, count=clusters.k)
    try:
        return evaluate(
            setting.samples,
            setting.reference,
            extractor=extractor,
            train=train,
            requested=setting.asked,
            judge=judge,
            meaning=meaning if judge is not None else None,
            annotation=_Rule(clusters) if clusters is not None and clusters.extractor is not None else None,
            metrics=section.metrics,
            k=section.neighbours,
            allow_few=section.allow_few,
            resamples=section.bootstrap,
            batch_size=section.batch_size,
            seed=section.seed,
        )
    except ValueError as error:  # the library speaks of arguments, a user of this room of settings
        raise ValueError(str(error).replace("allow_few=True", "--set evaluate.allow_few=true")) from None


def check_metrics_file(path: Path) -> Path:
    """Refuse a file in the place of the numbers that are none of ours."""
    return check_file(path, mark=b'"metrics":', what="the numbers of an evaluation")


def write_metrics(setting: EvaluationSetting, metrics: "Sequence[Metric]", out: Path | None) -> Path:
    """Write the numbers, with what they are about."""
    path = check_metrics_file(out or setting.folder / METRICS)
    about = {
        "title": setting.title,
        "settings": setting.settings,
        "metrics": [metric.to_dict() for metric in metrics],
    }
    atomic_write_json(path, sealed(about))
    return path
