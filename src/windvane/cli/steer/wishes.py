"""What `windvane steer` steers, and what is wished for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.errors import say

if TYPE_CHECKING:
    from windvane.cli.common.conditions.vocabulary import KnownConditions
    from windvane.cli.common.sections import SampleSection
    from windvane.conditions import Condition
    from windvane.data import ImageData
    from windvane.denoiser import Denoiser
    from windvane.tasks.steering import Eyes, Wish
    from windvane.tasks.steering.guides import SteeredModel, SteeringImages


@dataclass(frozen=True)
class WishFlags:
    """What the flags asked for, as they were written."""

    text: Sequence[str] = ()
    like: Sequence[Path] = ()
    content: Sequence[Path] = ()
    style: Sequence[Path] = ()
    classes: Sequence[str] = ()
    measure: Sequence[str] = ()
    weights: dict[str, float] = field(default_factory=dict)
    encoder: str | None = None
    classifier: str | None = None
    trust: bool = False

    @property
    def sentences(self) -> str | None:
        """Name or folder of the text model that the own encoder reads with."""
        kind, _, name = (self.encoder or "").partition(":")
        return name if kind == "sentences" else None

    @property
    def titles(self) -> list[tuple[str, str]]:
        """Every wish: its kind, and what errors call it."""
        named = (("text", self.text), ("like", self.like), ("content", self.content), ("style", self.style))
        given = (*named, ("class", self.classes), ("measure", self.measure))
        return [(kind, f"{kind} {one}") for kind, ones in given for one in ones]

    @property
    def kinds(self) -> set[str]:
        """The kinds of what is wished for."""
        return {kind for kind, _ in self.titles}

    @property
    def looks(self) -> bool:
        """Whether an encoder is needed."""
        return bool(self.kinds & {"text", "like", "content", "style"})

    def weight(self, kind: str) -> float:
        """The weight of a kind, 1 unless it was given."""
        return self.weights.get(kind, self.weights.get("", 1.0))


@dataclass(frozen=True)
class Manner:
    """How the wishes steer.

    Args:
        preset: a name among the library's methods.
        paper_scale: weights are the paper's own, not fractions of the step.
        strengths: what all weights are multiplied by, one arm each; 0, unguided, comes first.
        inner: gradient steps on the prediction itself, `--backward`.
        repeat: how often each guided step is made.
    """

    preset: str
    paper_scale: bool = False
    strengths: Sequence[float] = (0.0, 1.0)
    inner: int = 0
    repeat: int = 1

    def options(self) -> dict[str, Any]:
        """As the library's functions take it."""
        return {
            "preset": self.preset,
            "paper_scale": self.paper_scale,
            "backward": self.inner,
            "recurrences": self.repeat,
        }

    def to_dict(self) -> dict[str, Any]:
        """What shapes the pictures of one strength, as JSON values."""
        scale = "paper" if self.paper_scale else "relative"
        return {"preset": self.preset, "scale": scale, "backward": self.inner, "repeat": self.repeat}


def open_target(path: Path, section: "SampleSection", *, device: str) -> "SteeredModel":
    """A run or model folder of Windvane, a folder of a diffusers pipeline, or its name on the hub.

    Raises:
        ValueError: no images, weights that are not there, or a class that the model needs or does not know.
    """

    from windvane.cli.common.models import clip_of, open_model
    from windvane.codec import data_shape
    from windvane.tasks.steering.guides import SteeredModel

    try:
        model = open_model(path, weights=section.weights, device=device, precision=section.precision)
    except ValueError as error:  # `--weights` is about guidance here
        raise ValueError(str(error).replace("ask for weights='raw'", "--set sample.weights=raw")) from None
    denoiser = model.denoiser
    for note in denoiser.notes:
        say(f"{path}: {note}")
    if denoiser.shape is None or len(denoiser.shape) != 3:
        raise ValueError(f"{path} makes data of shape {denoiser.shape}; steer works on images (C, H, W)")
    about = {"model": str(model.folder.resolve()), "weights_sha256": model.sha256, "step": model.step}
    sampled, cond = conditioned(denoiser, model.asked, section)
    clip = clip_of(denoiser, section)
    codec = denoiser.codec
    if codec is None:
        return SteeredModel(sampled, denoiser.shape, about, clip=clip, cond=cond)
    return SteeredModel(sampled, data_shape(codec, denoiser.shape, device), about, codec.decode, clip, cond)


def conditioned(
    denoiser: "Denoiser", asked: "KnownConditions | None", section: "SampleSection"
) -> "tuple[Denoiser, Condition | None]":
    """The denoiser and the condition for every sample: none, or the class that `--cluster` names.

    Raises:
        ValueError: a model that makes nothing without a class, or none of the class that is named.
    """
    from windvane.cli.common.builders import build_guided
    from windvane.cli.common.conditions.vocabulary import draw
    from windvane.cli.common.guidance import settled
    from windvane.conditions import Condition

    classes, null = (getattr(denoiser, name, None) for name in ("classes", "null_class"))
    if section.cluster is None:
        if classes is not None and null is None:
            raise ValueError(
                "this pipeline has no class that stands for none: --cluster K says which it makes, "
                f"0 to {classes - 1}"
            )
        return denoiser, None
    section = settled(section, asked, weight_given=False)
    if asked is not None and asked.size is not None:
        raise ValueError(f"--cluster: steer knows no {asked.kind}, without which this model has no clusters")
    if classes is not None and null is None and section.weight != 1:
        raise ValueError(
            "this pipeline has no class that stands for none, and a sample.weight needs one unless it is 1"
        )
    ids = draw(section, asked, [0])
    return build_guided(denoiser, section), None if ids is None else Condition.vector(ids)


def make_wishes(
    flags: WishFlags,
    eyes: "Eyes",
    target: "SteeredModel",
    images: "Callable[[], SteeringImages]",
    *,
    judged: "SteeringImages | None",
) -> "list[Wish]":
    """The wishes in a fixed order: texts, pictures, classes, measurements.

    Args:
        images: those that guides learn from.
        judged: those that judges learn from, where there are judges.
    """
    from windvane.tasks.steering import (
        image_wish,
        measurement_wish,
        open_measure,
        read_picture,
        text_wish,
    )

    process = target.denoiser.process
    made = [text_wish(eyes, text, flags.weight("text")) for text in flags.text]
    for kind, paths in (("like", flags.like), ("content", flags.content), ("style", flags.style)):
        for path in paths:
            picture = read_picture(path, target.shape)[None]
            made.append(image_wish(eyes, kind, picture, process, flags.weight(kind), what=path.name))
    for name in flags.classes:
        made.append(_class_wish(name, flags, eyes, images, None if judged is None else judged.judge))
    for text in flags.measure:
        found = open_measure(text, target.shape)
        made.append(
            measurement_wish(
                found.operator, found.y, flags.weight("measure"), what=found.what, decode=target.decode
            )
        )
    return made


def _class_wish(
    name: str,
    flags: WishFlags,
    eyes: "Eyes",
    images: "Callable[[], SteeringImages]",
    judged: "ImageData | None",
) -> "Wish":
    """A class of the own classifier, which the judge knows by the same number; or of another one."""
    from windvane.tasks.steering import class_wish

    if flags.classifier is None:
        label, told = class_of(name, images().guide)
        return class_wish(eyes, label, flags.weight("class"), what=told)
    label, told = (eyes.class_id(name), name) if eyes.class_id is not None else class_of(name, None)
    from windvane.tasks.steering.guides import same_class

    made = class_wish(eyes, label, flags.weight("class"), what=told)
    return replace(made, label=same_class(eyes.class_names.get(label), judged))


def class_of(name: str, data: "ImageData | None") -> tuple[int, str]:
    """A class by its number or by the name of its label."""
    names = None if data is None else data.label_names
    if names and name in names:
        return names.index(name), name
    if not name.isdecimal():
        known = f"; labels: {', '.join(names[:20])}" if names else "; give its number"
        raise ValueError(f"--class: there is no class {name!r}{known}")
    if data is not None and data.labels is not None and int(name) > int(data.labels.max()):
        raise ValueError(f"--class {name}: the images have classes 0 to {int(data.labels.max())}")
    return int(name), name
