"""What is wished of the samples: a text, a picture's likeness, layout or style, a class, a measurement."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from windvane.energies import (
    ClassLogProb,
    Energy,
    FeatureMatch,
    GramStyle,
    ImageSimilarity,
    MeasurementNorm,
    Reference,
    TextSimilarity,
)
from windvane.guidance import GradientGuidance
from windvane.guidance.methods import DEFAULT, check_noisy, guidance
from windvane.process import Process

KINDS = ("text", "like", "content", "style", "class", "measure")


@dataclass(frozen=True)
class Eyes:
    """The networks that guide.

    Args:
        image: images to embeddings; ``look(x, t)`` if ``timed``, else ``look(x)``.
        maps: images to feature maps, the same way.
        text: texts to embeddings in the space of ``image``.
        logits: images to logits; ``logits_timed`` says whether it is given t.
        timed: whether image and maps are noise-aware.
        class_id: the number of a class by name, where the classifier has names of its own.
        class_names: these names, by number.
    """

    image: Callable[..., Tensor] | None = None
    maps: Callable[..., Any] | None = None
    text: Callable[[list[str]], Tensor] | None = None
    logits: Callable[..., Tensor] | None = None
    timed: bool = True
    logits_timed: bool = True
    class_id: Callable[[str], int] | None = None
    class_names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wish:
    """One energy with its weight, and what it was made from, for those who judge it.

    Args:
        kind: one of ``KINDS``.
        what: as a person would say it.
        noisy: whether the energy may be asked about x_t.
        image: the reference picture ``(1, C, H, W)``, or the measured values.
        operator: of a measurement, of pictures.
        label: of a class, as the judge numbers it; None where the judge does not know it.
    """

    kind: str
    what: str
    energy: Energy
    weight: float = 1.0
    noisy: bool = True
    image: Tensor | None = None
    operator: Callable[[Tensor], Tensor] | None = None
    label: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """``text 'a seven'``."""
        return f"{self.kind} {self.what}"


def text_wish(eyes: Eyes, text: str | list[str], weight: float = 1.0, *, signal: str | None = None) -> Wish:
    """A text, or one for each sample.

    Args:
        signal: the condition's signal with the embeddings, ``eyes.text(texts)`` row by row, so that samples
            may be drawn in batches; ``text`` then only says what they are.
    """
    if eyes.image is None or eyes.text is None:
        raise ValueError("a text needs an encoder of texts and images")
    if signal is not None:
        energy = TextSimilarity(eyes.image, signal, timed=eyes.timed, name=f"text {text}")
        return Wish("text", str(text), energy, weight, noisy=eyes.timed)
    energy = TextSimilarity.of(eyes.image, eyes.text, text, timed=eyes.timed)
    what = repr(text) if isinstance(text, str) else f"of {len(text)} samples"
    return Wish("text", what, energy, weight, noisy=eyes.timed, extra={"text": text})


def image_wish(
    eyes: Eyes, kind: str, image: Tensor | str, process: Process, weight: float = 1.0, *, what: str = ""
) -> Wish:
    """A picture: its likeness ("like"), layout ("content") or style ("style").

    Args:
        image: ``(1, C, H, W)``, or one for each sample, or the name of a condition's signal with these.
    """
    makers: dict[str, tuple[Any, Any]] = {
        "like": (ImageSimilarity, eyes.image),
        "content": (FeatureMatch, eyes.maps),
        "style": (GramStyle, eyes.maps),
    }
    if kind not in makers:
        raise ValueError(f"a picture is wished for as {', '.join(makers)}, got {kind!r}")
    make, look = makers[kind]
    if look is None:
        raise ValueError(f"--{kind} needs an image encoder with feature maps; this encoder has none")
    target = Reference(image, process) if eyes.timed else image
    energy = make(look, target, timed=eyes.timed, name=f"{kind} {what}".strip())
    shown = None if isinstance(image, str) else image
    return Wish(kind, what or "picture", energy, weight, noisy=eyes.timed, image=shown)


def class_wish(eyes: Eyes, label: int, weight: float = 1.0, *, what: str = "") -> Wish:
    """A class of the classifier. Judges are taken to number classes as it does; else replace ``label``."""
    if eyes.logits is None:
        raise ValueError("a class needs a classifier")
    energy = ClassLogProb(eyes.logits, label, timed=eyes.logits_timed, name=f"class {what or label}")
    return Wish("class", what or str(label), energy, weight, noisy=eyes.logits_timed, label=label)


def measurement_wish(
    operator: Callable[[Tensor], Tensor],
    y: Tensor,
    weight: float = 1.0,
    *,
    what: str = "measurement",
    decode: Callable[[Tensor], Tensor] | None = None,
) -> Wish:
    """Agreement with a measurement y = A x, ``(1, *)``.

    Args:
        operator: A, of pictures.
        decode: states -> pictures where these differ (latents): the energy decodes, judges see pictures.
    """
    seen = operator if decode is None else lambda x: operator(decode(x))
    energy = MeasurementNorm(seen, y, name=f"measure {what}")
    return Wish("measure", what, energy, weight, noisy=False, image=y, operator=operator)


def combined(
    wishes: Sequence[Wish],
    *,
    preset: str = DEFAULT,
    factor: float = 1.0,
    paper_scale: bool = False,
    backward: int = 0,
) -> GradientGuidance:
    """The guidance by all wishes together, every weight times ``factor``.

    Raises:
        ValueError: nothing wished for; an unknown preset; an energy that cannot be asked about x_t in a
            preset that does.
    """
    if not wishes:
        raise ValueError("nothing is wished for: give at least one of " + ", ".join(KINDS))
    check_noisy(preset, [wish.title for wish in wishes if not wish.noisy])
    first, *others = (
        guidance(wish.energy, factor * wish.weight, preset, paper_scale=paper_scale, backward=backward)
        for wish in wishes
    )
    for other in others:
        first = first + other
    return first


def own_eyes(encoder: Any, process: Process, classifier: Any = None) -> Eyes:
    """The eyes that a :class:`~windvane.text.TextImageEncoder` and a noise-aware classifier give."""
    from windvane.text import Look

    with torch.no_grad():
        return Eyes(
            image=None if encoder is None else encoder.at(process),
            maps=None if encoder is None else encoder.at(process, maps=True),
            text=None if encoder is None else encoder.text,
            logits=None if classifier is None else Look(classifier, process),
        )
