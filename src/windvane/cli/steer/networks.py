"""The networks that guide, and those that judge, each from images of its own."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from windvane.cli.common.datasets import open_parts, usable_cache
from windvane.cli.common.errors import say
from windvane.cli.common.sections import DataSection
from windvane.cli.steer.wishes import WishFlags, class_of

if TYPE_CHECKING:
    from windvane.tasks.steering import Eyes
    from windvane.tasks.steering.guides import SteeredModel, SteeringImages
    from windvane.text import Vocabulary

_DIGITS = (1, 8, 8)
#: What is told where no images are known that a judge could learn from.
NO_JUDGES = (
    "no images are known that judges could learn from (--data names some): only residuals of measurements "
    "and the diversity of pixels are measured"
)


def known_images(section: DataSection, shape: Sequence[int]) -> "SteeringImages":
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
    from windvane.tasks.steering.guides import SteeringImages

    return SteeringImages.of(parts.train, parts.held_out)


def own_encoder(flags: WishFlags, target: "SteeredModel", known: "SteeringImages", seed: int) -> "Eyes":
    """The offline encoder, trained on the guides' half of the images; it may read with `sentences:NAME`."""
    from windvane.adapters import load_sentence_encoder
    from windvane.tasks.steering.guides import encoder_eyes, text_encoder
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
    kept: dict[str, Any] = {"cache": usable_cache("text"), "tell": say}
    encoder = text_encoder(known.guide, seed=seed, unseen=known.judge, sentences=sentences, **kept)
    return encoder_eyes(encoder.to(target.device), target)


def _check_words(texts: Sequence[str], words: "Vocabulary", *, named: bool) -> None:
    """Refuse a text of unknown words alone, before anything is trained."""
    try:
        words.bag([text for text in texts if text], warn=False)
    except ValueError as error:
        if named:
            raise
        raise ValueError(f"{error}; the classes have no names, --names FILE gives them") from None


def make_eyes(
    flags: WishFlags, target: "SteeredModel", images: "Callable[[], SteeringImages]", seed: int
) -> "Eyes":
    """The networks that guide, made or opened as the wishes need them, on the target's device."""
    from windvane.tasks.steering import Eyes
    from windvane.tasks.steering.guides import foreign_encoder, opened_classifier, own_classifier

    seeing = naming = Eyes()
    if flags.classifier is not None:
        naming = opened_classifier(flags.classifier, target, trust=flags.trust)
    elif flags.classes:
        for name in flags.classes:
            class_of(name, images().guide)  # refuses what is not there before anything is trained
        naming = own_classifier(images(), target, seed=seed)
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
