"""The feature space of an evaluation: never one that took part in making the samples."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.datasets import Parts, usable_cache
from windvane.cli.common.errors import say
from windvane.cli.common.sections import EvaluateSection
from windvane.files import discard

if TYPE_CHECKING:
    from windvane.data import ImageData
    from windvane.metrics import Judge

_STEPS, _DIM = 200, 64
# Far from any seed that an annotation is likely to have: a guide must not measure itself.
_OTHER_SEED = 7_001_001


def eyes(parts: Parts | None, reference: "ImageData", section: EvaluateSection) -> "tuple[Judge | None, Any]":
    """A judge where labels make one, and the feature space that pictures are measured in."""
    from windvane.metrics.texture import WithTexture

    train = parts.train if parts else None
    labelled = train if train is not None and train.labels is not None else reference
    judge = judge_for(labelled, parts.held_out if parts else None, section)
    extractor = judge or features_for(train or reference, section)
    if section.features == "auto":
        # Learnt features may take noise for real pictures; how rough these are tells the two apart.
        extractor = WithTexture(extractor, train or reference)
    return judge, extractor


def judge_for(data: "ImageData", held_out: "ImageData | None", section: EvaluateSection) -> "Judge | None":
    """A classifier trained on the labels of `data`, or None where there are none or they say nothing."""
    if section.features not in ("auto", "judge"):
        return None
    if data.labels is None:
        if section.features == "judge":
            raise ValueError("features judge needs labels, and these images have none; use auto")
        return None
    judge = kept_judge(data, held_out, seed=section.seed)
    if judge.accuracy is not None:
        say(
            f"judge: a classifier trained on the labels, {judge.accuracy:.1%} right on images it has not seen"
        )
    return None if section.features == "auto" and poor(judge, data) else judge


def kept_judge(data: "ImageData", held_out: "ImageData | None", *, seed: int) -> "Judge":
    """A classifier trained on the labels of `data`, from the cache where it is known already."""
    from windvane.metrics import Judge, train_judge

    test = None if held_out is None or held_out.labels is None else (held_out, held_out.labels)
    # Labels and the images that the accuracy was measured on have no part in the fingerprint of the images.
    told = [data.fingerprint, None if data.labels is None else data.labels.tolist()]
    told += [] if test is None else [test[0].fingerprint, test[1].tolist()]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]
    path = _kept(f"judge-{digest}-{seed}.safetensors")
    if path is not None and path.is_file():
        try:
            return Judge.load(path)
        except ValueError as error:  # a cache may be thrown away at any time
            say(f"the judge is trained again: {error}")
    judge = train_judge(data, test=test, seed=seed)
    if path is not None:
        judge.save(path)
    return judge


def poor(judge: "Judge", data: "ImageData") -> bool:
    """Whether the labels can hardly be told from the images, so that the judge sees nothing worth measuring.

    Names of folders become labels, and often say nothing about the pictures. The bar is twice the accuracy of
    always naming the most frequent label, or half-way from there to certainty where that is less.
    """
    counts = data.label_counts().double()
    guess = float(counts.max() / counts.sum())
    if judge.accuracy is None or judge.accuracy >= min(2 * guess, (1 + guess) / 2):
        return False
    say(
        f"the labels can hardly be told from the images ({guess:.1%} right by guessing), so they are not used"
    )
    return True


def features_for(data: "ImageData", section: EvaluateSection) -> Any:
    """The extractor by name, fitted on `data`; auto is a small self-supervised encoder of its own seed.

    Principal components would cost less, but white noise looks perfectly precise in them.
    """
    from windvane.annotate import SelfSup, features_from

    automatic = section.features == "auto"
    seed = section.seed + _OTHER_SEED
    made = (
        SelfSup(dim=_DIM, steps=_STEPS, seed=seed)
        if automatic
        else features_from(section.features, seed=seed)
    )
    return _fitted(made, data) if hasattr(made, "fit") else made


def _fitted(extractor: Any, data: "ImageData") -> Any:
    from windvane.annotate.features.extractor import text_key
    from windvane.annotate.features.extractor_storage import load_extractor, save_extractor

    path = _kept(f"extractor-{text_key(extractor.recipe, data.fingerprint)}")
    if path is not None and path.is_dir():
        try:
            return load_extractor(path)
        except ValueError as error:
            say(f"the features are learnt again: {error}")
    extractor.fit(data)
    if path is not None:
        discard(path)  # what was damaged
        save_extractor(extractor, path)
    return extractor


def _kept(name: str) -> Path | None:
    cache = usable_cache("judges")
    return cache / name if cache is not None else None
