"""The networks that guide, and those that judge, each from images of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.errors import say
from windvane.cli.opening import open_parts, usable_cache
from windvane.cli.sections import DataSection
from windvane.cli.steering import Asked, Target, of_pictures

if TYPE_CHECKING:
    from torch import Tensor

    from windvane.data import ImageData
    from windvane.tasks.steering import Eyes, Judges

#: Far from any seed a user is likely to take: a judge must not be the guide once more.
_JUDGE_SEED = 9_001_001
_HALVES = 20


@dataclass(frozen=True)
class Known:
    """Images in three disjoint parts: those guides learn from, those judges learn from, and the reference."""

    guide: "ImageData"
    judge: "ImageData"
    reference: "ImageData"


def known_images(section: DataSection, shape: Sequence[int], *, told: bool) -> Known:
    """The images of a run, or digits where a model does not tell, in the model's own size.

    Args:
        told: whether the section comes from the run or the user.
    """
    size = section.size or (shape[1] if shape[1] == shape[2] else None)
    section = section.model_copy(update={"size": size, "channels": shape[0]})
    if not told:
        say(
            "the model does not say what it was trained on: guides and judges learn from the embedded "
            "digits; --data names other images"
        )
        section = section.model_copy(update={"source": "digits", "holdout": 1 / 3, "seed": 0})
    parts = open_parts(section, quiet=True)
    if tuple(parts.train.shape) != tuple(shape):
        raise ValueError(f"the model makes images {tuple(shape)}, {section.source} has {parts.train.shape}")
    guide, judge = parts.train.split((0.5, 0.5), _HALVES)
    return Known(guide, judge, parts.held_out if parts.held_out is not None else judge)


def text_encoder(data: "ImageData", *, seed: int, what: str) -> Any:
    """The offline encoder of texts and images, from the cache where it is known already."""
    from windvane.text import chance, text_retrieval, train_text_encoder

    labelled = data.labels is not None and bool((data.labels >= 0).all())
    captions = None if labelled else [f"picture{number}" for number in range(len(data))]
    made = train_text_encoder(data, captions, seed=seed, cache=usable_cache("text"))
    if labelled and what == "guide":
        found, guess = text_retrieval(made, data, (1,))[1], chance(data, (1,))[1]
        say(f"text encoder: {found:.0%} of its images find a true sentence first ({guess:.0%} by guessing)")
    return made


def make_eyes(asked: Asked, target: Target, images: "Callable[[], Known]", seed: int) -> "Eyes":
    """The networks that guide, made or opened as the wishes need them."""
    from windvane.tasks.steering import Eyes, own_eyes

    process = target.denoiser.process
    encoder = classifier = None
    logits = opened_classifier(asked.classifier, target) if asked.classifier else None
    if asked.looks and asked.encoder is None:
        known = images()
        if asked.text and known.guide.labels is None:
            raise ValueError(
                "--text needs images with labels to learn sentences from, and these have none; "
                "give --encoder clip:NAME_OR_FOLDER"
            )
        encoder = text_encoder(known.guide, seed=seed, what="guide")
    if asked.classes and logits is None:
        from windvane.text import train_noisy_classifier

        classifier = train_noisy_classifier(images().guide, seed=seed)
    if asked.encoder is not None:
        return foreign_eyes(asked.encoder, target, logits)
    if target.decode is not None:
        decode = target.decode
        return Eyes(
            image=None if encoder is None else lambda x: encoder.image(decode(x)),
            maps=None if encoder is None else lambda x: encoder.maps(decode(x)),
            text=None if encoder is None else encoder.text,
            logits=logits
            or (None if classifier is None else lambda x: classifier(decode(x), x.new_full((len(x),), 10.0))),
            timed=False,
            logits_timed=False,
        )
    eyes = own_eyes(encoder, process, classifier)
    if logits is None:
        return eyes
    return Eyes(eyes.image, eyes.maps, eyes.text, logits, eyes.timed, logits_timed=False)


def opened_classifier(path: Path, target: Target) -> "Callable[[Tensor], Tensor]":
    """A classifier of clean images in [-1, 1]: a judge's file, or TorchScript that gives logits."""
    import torch

    from windvane.metrics import Judge

    if not path.exists():
        raise ValueError(f"there is no classifier {path}")
    if path.suffix == ".safetensors":
        judge = Judge.load(path)
        return of_pictures(judge.classify, target)
    try:
        script = torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError:
        raise ValueError(
            f"{path} is neither a judge (.safetensors) nor TorchScript (torch.jit.save of a module)"
        ) from None
    return of_pictures(script, target)


def foreign_eyes(name: str, target: Target, logits: Any) -> "Eyes":
    """The towers of a CLIP or SigLIP model, `clip:NAME_OR_FOLDER`."""
    raise ValueError(f"--encoder {name}: CLIP and SigLIP adapters are not part of this installation")


def make_judges(images: "Callable[[], Known]", *, encoder: bool, seed: int) -> "Judges":
    """Judges of other seeds, trained on images that no guide has seen."""
    from windvane.metrics import train_judge
    from windvane.tasks.steering import Judges

    known = images()
    labels = known.judge.labels
    labelled = labels is not None and len(labels[labels >= 0].unique()) > 1
    classifier = train_judge(known.judge, seed=seed + _JUDGE_SEED) if labelled else None
    made = text_encoder(known.judge, seed=seed + _JUDGE_SEED, what="judge") if encoder else None
    return Judges(made, classifier, known.reference)
