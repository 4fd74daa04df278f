"""Which judge, and in which features: never those that took part in making the samples."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from windvane.annotate import SelfSup, features_from
from windvane.annotate.features.extractor import text_key
from windvane.annotate.features.extractor_storage import load_extractor, save_extractor
from windvane.data import ImageData
from windvane.files import discard
from windvane.judges.judge import Judge
from windvane.judges.training import train_judge
from windvane.metrics.texture import WithTexture

_STEPS, _DIM = 200, 64
# Far from any seed that an annotation is likely to have: a guide must not measure itself.
_OTHER_SEED = 7_001_001

Tell = Callable[[str], None]


def untold(text: str) -> None:
    """Say nothing."""


def judge_and_features(
    train: ImageData | None,
    held_out: ImageData | None,
    reference: ImageData,
    *,
    features: str = "auto",
    seed: int = 0,
    cache: Path | None = None,
    tell: Tell = untold,
) -> tuple[Judge | None, Any]:
    """A judge where labels make one, and the feature space that pictures are measured in.

    Args:
        train: the images of the run, where they are known; their labels count before the reference's.
        held_out: what the accuracy of the judge is measured on.
        reference: images to compare with.
        features: ``"auto"`` (the judge, or a small self-supervised encoder), ``"judge"``, or an extractor by
            name.
        cache: a folder in which judges and extractors are kept.
        tell: called with what a user should know.

    Raises:
        ValueError: ``features`` is ``"judge"`` and there are no labels.
    """
    labelled = train if train is not None and train.labels is not None else reference
    judge = judge_for(labelled, held_out, features=features, seed=seed, cache=cache, tell=tell)
    images = train or reference
    extractor = judge or feature_space(images, features=features, seed=seed, cache=cache, tell=tell)
    if features == "auto":
        # Learnt features may take noise for real pictures; how rough these are tells the two apart.
        extractor = WithTexture(extractor, images)
    return judge, extractor


def judge_for(
    data: ImageData,
    held_out: ImageData | None,
    *,
    features: str = "auto",
    seed: int = 0,
    cache: Path | None = None,
    tell: Tell = untold,
) -> Judge | None:
    """A classifier trained on the labels of ``data``, or None where there are none or they say nothing."""
    if features not in ("auto", "judge"):
        return None
    if data.labels is None:
        if features == "judge":
            raise ValueError("features judge needs labels, and these images have none; use auto")
        return None
    judge = kept_judge(data, held_out, seed=seed, cache=cache, tell=tell)
    if judge.accuracy is not None:
        tell(
            f"judge: a classifier trained on the labels, {judge.accuracy:.1%} right on images it has not seen"
        )
    return None if features == "auto" and poor(judge, data, tell=tell) else judge


def kept_judge(
    data: ImageData, held_out: ImageData | None, *, seed: int, cache: Path | None = None, tell: Tell = untold
) -> Judge:
    """A classifier trained on the labels of `data`, from the cache where it is known already."""
    test = None if held_out is None or held_out.labels is None else (held_out, held_out.labels)
    # Labels and the images that the accuracy was measured on have no part in the fingerprint of the images.
    told = [data.fingerprint, None if data.labels is None else data.labels.tolist()]
    told += [] if test is None else [test[0].fingerprint, test[1].tolist()]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]
    path = None if cache is None else cache / f"judge-{digest}-{seed}.safetensors"
    if path is not None and path.is_file():
        try:
            return Judge.load(path)
        except ValueError as error:  # a cache may be thrown away at any time
            tell(f"the judge is trained again: {error}")
    judge = train_judge(data, test=test, seed=seed)
    if path is not None:
        judge.save(path)
    return judge


def poor(judge: Judge, data: ImageData, *, tell: Tell = untold) -> bool:
    """Whether the labels can hardly be told from the images, so that the judge sees nothing worth measuring.

    Names of folders become labels, and often say nothing about the pictures. The bar is twice the accuracy of
    always naming the most frequent label, or half-way from there to certainty where that is less.
    """
    counts = data.label_counts().double()
    guess = float(counts.max() / counts.sum())
    if judge.accuracy is None or judge.accuracy >= min(2 * guess, (1 + guess) / 2):
        return False
    tell(
        f"the labels can hardly be told from the images ({guess:.1%} right by guessing), so they are not used"
    )
    return True


def feature_space(
    data: ImageData,
    *,
    features: str = "auto",
    seed: int = 0,
    cache: Path | None = None,
    tell: Tell = untold,
) -> Any:
    """The extractor by name, fitted on ``data``; auto is a small self-supervised encoder of its own seed.

    Principal components would cost less, but white noise looks perfectly precise in them.
    """
    seed += _OTHER_SEED
    automatic = features == "auto"
    extractor: Any = (
        SelfSup(dim=_DIM, steps=_STEPS, seed=seed) if automatic else features_from(features, seed=seed)
    )
    if not hasattr(extractor, "fit"):
        return extractor
    path = None if cache is None else cache / f"extractor-{text_key(extractor.recipe, data.fingerprint)}"
    if path is not None and path.is_dir():
        try:
            return load_extractor(path)
        except ValueError as error:
            tell(f"the features are learnt again: {error}")
    extractor.fit(data)
    if path is not None:
        discard(path)  # what was damaged
        save_extractor(extractor, path)
    return extractor
