"""The networks that guide, and those that judge, each from images of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windvane.cli.common.datasets import open_parts, usable_cache
from windvane.cli.common.errors import say
from windvane.cli.common.judges import kept_judge, poor
from windvane.cli.common.sections import DataSection
from windvane.cli.steer.wishes import Target, WishFlags, class_of, of_pictures

if TYPE_CHECKING:
    from windvane.data import ImageData
    from windvane.tasks.steering import Eyes, Judges
    from windvane.text import Vocabulary

#: Far from any seed a user is likely to take: a judge must not be the guide once more.
_JUDGE_SEED = 9_001_001
_HALVES = 20
_DIGITS = (1, 8, 8)
#: What is told where no images are known that a judge could learn from.
NO_JUDGES = (
    "no images are known that judges could learn from (--data names some): only residuals of measurements "
    "and the diversity of pixels are measured"
)


@dataclass(frozen=True)
class SteeringImages:
    """Images in three disjoint parts: those guides learn from, those judges learn from, and the reference."""

    guide: "ImageData"
    judge: "ImageData"
    reference: "ImageData"


def known_images(section: DataSection, shape: Sequence[int]) -> SteeringImages:
    """The images of a run, or those that the user names, in the model's own size.

    Where nobody names any, guides of images in the digits' own size learn from the embedded digits.

    Raises:
        ValueError: images of another shape; or none named, and a model of other images.
    """
    size = section.size or (shape[1] if shape[1] == shape[2] else None)
    if not section.source:
        if tuple(shape) != _DIGITS:
            raise ValueError(
                "the model does not say what it was trained on, so there is nothing for a guide to learn "
                "from: --data names images, or take trained guides, --encoder clip:NAME and --classifier"
            )
        say(
            "the model does not say what it was trained on: guides learn from the embedded digits; --data "
            "names other images"
        )
        section = section.model_copy(update={"source": "digits", "holdout": 1 / 3, "seed": 0})
    parts = open_parts(section.model_copy(update={"size": size, "channels": shape[0]}), quiet=True)
    if tuple(parts.train.shape) != tuple(shape):
        raise ValueError(f"the model makes images {tuple(shape)}, {section.source} has {parts.train.shape}")
    guide, judge = parts.train.split((0.5, 0.5), _HALVES)
    return SteeringImages(guide, judge, parts.held_out if parts.held_out is not None else judge)


def text_encoder(
    data: "ImageData", *, seed: int, unseen: "ImageData | None" = None, sentences: Any = None
) -> Any:
    """The offline encoder of texts and images, from the cache where it is known already."""
    from windvane.text import chance, text_retrieval, train_text_encoder

    labelled = data.labels is not None and bool((data.labels >= 0).any())
    captions = None if labelled else [f"picture{number}" for number in range(len(data))]
    made = train_text_encoder(data, captions, sentences=sentences, seed=seed, cache=usable_cache("text"))
    if labelled and unseen is not None:
        found, guess = text_retrieval(made, unseen, (1,))[1], chance(unseen, (1,))[1]
        say(f"text encoder: {found:.0%} of unseen images find a true sentence first, {guess:.0%} by guessing")
    return made


def opened_classifier(name: str, target: Target, *, trust: bool = False) -> "Eyes":
    """A classifier of clean images: a judge's file, TorchScript, a .pt2 program, or one of transformers."""
    from windvane.metrics import Judge
    from windvane.tasks.steering import Eyes

    if name.endswith(".safetensors"):
        return Eyes(
            logits=of_pictures(Judge.load(name).to(target.device).classify, target), logits_timed=False
        )
    from windvane.adapters import load_classifier

    opened = load_classifier(name, device=target.device, trust=trust)
    return Eyes(
        logits=of_pictures(opened, target),
        logits_timed=False,
        class_id=lambda wanted: opened.class_id(int(wanted) if wanted.isdecimal() else wanted),
        class_names=opened.names,
    )


def foreign_encoder(name: str, target: Target) -> "Eyes":
    """The towers of a CLIP or SigLIP model, `clip:NAME_OR_FOLDER`."""
    from windvane.adapters import load_text_image
    from windvane.tasks.steering import Eyes

    opened = load_text_image(name.partition(":")[2], device=target.device)
    return Eyes(
        image=of_pictures(opened.image, target),
        maps=of_pictures(opened.maps, target),
        text=opened.text,
        timed=False,
    )


def own_encoder(flags: WishFlags, target: Target, known: SteeringImages, seed: int) -> "Eyes":
    """The offline encoder, trained on the guides' half of the images; it may read with `sentences:NAME`."""
    from windvane.adapters import load_sentence_encoder
    from windvane.tasks.steering import Eyes, own_eyes
    from windvane.text import describe, known_words, vocabulary_of

    sentences = None if flags.sentences is None else load_sentence_encoder(flags.sentences)
    labels = known.guide.labels
    if labels is None or bool((labels < 0).all()):
        if flags.text:
            raise ValueError(
                "--text needs images with labels to learn sentences from, and these have none; "
                "--set data.labels=folders takes sub-folders as classes, --encoder clip:NAME_OR_FOLDER "
                "needs none"
            )
        say("text encoder: it knows no words, as the images have no labels")
    else:
        told = describe(known.guide)
        if flags.text and sentences is None:
            _check_words(flags.text, vocabulary_of(told), named=known.guide.label_names is not None)
        say(f"text encoder: it learns the words {known_words(told)}")
    encoder = text_encoder(known.guide, seed=seed, unseen=known.judge, sentences=sentences).to(target.device)
    if target.decode is None:
        return own_eyes(encoder, target.denoiser.process)
    return Eyes(
        image=of_pictures(encoder.image, target),
        maps=of_pictures(encoder.maps, target),
        text=encoder.text,
        timed=False,
    )


def _check_words(texts: Sequence[str], words: "Vocabulary", *, named: bool) -> None:
    """Refuse a text of unknown words alone, before anything is trained."""
    try:
        words.bag([text for text in texts if text], warn=False)
    except ValueError as error:
        if named:
            raise
        raise ValueError(f"{error}; the classes have no names, --names FILE gives them") from None


def own_classifier(flags: WishFlags, target: Target, known: SteeringImages, seed: int) -> "Eyes":
    """A classifier of the labels, trained on the guides' half of the images."""
    from windvane.tasks.steering import Eyes, own_eyes
    from windvane.text import train_noisy_classifier

    for name in flags.classes:
        class_of(name, known.guide)  # refuses what is not there before anything is trained
    classifier = train_noisy_classifier(known.guide, seed=seed).to(target.device)
    if target.decode is None:
        return own_eyes(None, target.denoiser.process, classifier)
    return Eyes(logits=of_pictures(classifier, target), logits_timed=False)


def make_eyes(flags: WishFlags, target: Target, images: "Callable[[], SteeringImages]", seed: int) -> "Eyes":
    """The networks that guide, made or opened as the wishes need them, on the target's device."""
    from dataclasses import replace

    from windvane.tasks.steering import Eyes

    seeing = naming = Eyes()
    if flags.classifier is not None:
        naming = opened_classifier(flags.classifier, target, trust=flags.trust)
    elif flags.classes:
        naming = own_classifier(flags, target, images(), seed)
    if flags.encoder is not None and flags.sentences is None:
        seeing = foreign_encoder(flags.encoder, target)
    elif flags.looks:
        seeing = own_encoder(flags, target, images(), seed)
    return replace(
        seeing,
        logits=naming.logits,
        logits_timed=naming.logits_timed,
        class_id=naming.class_id,
        class_names=naming.class_names,
    )


def make_judges(known: SteeringImages | None, *, encoder: bool, seed: int) -> "Judges":
    """Judges of other seeds, trained on images that no guide has seen; none where no images are known."""
    from windvane.tasks.steering import Judges

    if known is None:
        return Judges(None, None, None)
    labels = known.judge.labels
    labelled = labels is not None and len(labels[labels >= 0].unique()) > 1
    classifier = kept_judge(known.judge, None, seed=seed + _JUDGE_SEED) if labelled else None
    if classifier is not None and poor(classifier, known.judge):
        classifier = None
    made = text_encoder(known.judge, seed=seed + _JUDGE_SEED) if encoder else None
    return Judges(made, classifier, known.reference)
