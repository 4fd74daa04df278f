"""Networks that guide, and those that judge, each from images of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.data import ImageData
from windvane.denoiser import Denoiser
from windvane.judges import Judge, kept_judge, poor
from windvane.judges.choice import untold
from windvane.samplers.plan import resolve_device
from windvane.tasks.steering.goals import Eyes, own_eyes
from windvane.tasks.steering.measure import Judges
from windvane.text import chance, text_retrieval, train_noisy_classifier, train_text_encoder

#: Far from any seed a user is likely to take: a judge must not be the guide once more.
_JUDGE_SEED = 9_001_001
_HALVES = 20

Tell = Callable[[str], None]


@dataclass(frozen=True)
class SteeredModel:
    """A model to steer.

    Args:
        shape: (C, H, W) of its pictures.
        about: what identifies it, as JSON values.
        decode: state -> pictures where these differ (latents), or None.
        clip: the bound for its predictions, or None.
        cond: of every sample, one row, or None.
    """

    denoiser: Denoiser
    shape: tuple[int, ...]
    about: dict[str, Any]
    decode: Callable[[Tensor], Tensor] | None = None
    clip: float | None = None
    cond: Condition | None = None

    @property
    def device(self) -> torch.device:
        """Where the denoiser is, and so every network that guides it must be."""
        return resolve_device(self.denoiser, None)

    def pictures(self, x: Tensor) -> Tensor:
        """The pictures of states."""
        if self.decode is None:
            return x
        with torch.no_grad():
            return torch.cat([self.decode(part) for part in x.split(16)])


@dataclass(frozen=True)
class SteeringImages:
    """Images in three disjoint parts: those guides learn from, those judges learn from, and the reference."""

    guide: ImageData
    judge: ImageData
    reference: ImageData

    @classmethod
    def of(cls, train: ImageData, held_out: ImageData | None = None) -> "SteeringImages":
        """Half of the images for each; the reference is what was held out, or else the judges' half."""
        guide, judge = train.split((0.5, 0.5), _HALVES)
        return cls(guide, judge, judge if held_out is None else held_out)


def of_pictures(look: Callable[[Tensor], Tensor], model: SteeredModel) -> Callable[[Tensor], Tensor]:
    """What looks at pictures, as one that looks at the model's states."""
    decode = model.decode
    return look if decode is None else lambda x: look(decode(x))


def same_class(name: str | None, data: ImageData | None) -> int | None:
    """The label in `data` of what another classifier calls `name`; its numbers may mean anything."""
    ours = None if data is None else data.label_names
    if name is None or ours is None:
        return None
    theirs = {part.strip().lower() for part in (name, *name.split(","))}
    return next((label for label, known in enumerate(ours) if known.strip().lower() in theirs), None)


def text_encoder(
    data: ImageData,
    *,
    seed: int,
    unseen: ImageData | None = None,
    sentences: Any = None,
    cache: Path | None = None,
    tell: Tell = untold,
) -> Any:
    """The offline encoder of texts and images, from the cache where it is known already."""
    labelled = data.labels is not None and bool((data.labels >= 0).any())
    captions = None if labelled else [f"picture{number}" for number in range(len(data))]
    made = train_text_encoder(data, captions, sentences=sentences, seed=seed, cache=cache)
    if labelled and unseen is not None:
        true, guess = text_retrieval(made, unseen, (1,))[1], chance(unseen, (1,))[1]
        tell(f"text encoder: {true:.0%} of unseen images find a true sentence first, {guess:.0%} by guessing")
    return made


def opened_classifier(name: str, model: SteeredModel, *, trust: bool = False) -> Eyes:
    """A classifier of clean images: a judge's file, TorchScript, a .pt2 program, or one of transformers."""
    if name.endswith(".safetensors"):
        return Eyes(logits=of_pictures(Judge.load(name).to(model.device).classify, model), logits_timed=False)
    from windvane.adapters import load_classifier

    opened = load_classifier(name, device=model.device, trust=trust)
    return Eyes(
        logits=of_pictures(opened, model),
        logits_timed=False,
        class_id=lambda wanted: opened.class_id(int(wanted) if wanted.isdecimal() else wanted),
        class_names=opened.names,
    )


def foreign_encoder(name: str, model: SteeredModel) -> Eyes:
    """The towers of a CLIP or SigLIP model, ``clip:NAME_OR_FOLDER``."""
    from windvane.adapters import load_text_image

    return encoder_eyes(load_text_image(name.partition(":")[2], device=model.device), model, noisy=False)


def encoder_eyes(encoder: Any, model: SteeredModel, *, noisy: bool = True) -> Eyes:
    """An encoder of texts and images as one that guides; ``noisy`` ones know states, but for latents."""
    if noisy and model.decode is None:
        return own_eyes(encoder, model.denoiser.process)
    look, maps = of_pictures(encoder.image, model), of_pictures(encoder.maps, model)
    return Eyes(image=look, maps=maps, text=encoder.text, timed=False)


def own_classifier(images: SteeringImages, model: SteeredModel, *, seed: int) -> Eyes:
    """A classifier of the labels, trained on the guides' part of the images."""
    classifier = train_noisy_classifier(images.guide, seed=seed).to(model.device)
    if model.decode is None:
        return own_eyes(None, model.denoiser.process, classifier)
    return Eyes(logits=of_pictures(classifier, model), logits_timed=False)


def make_judges(
    known: SteeringImages | None,
    *,
    encoder: bool,
    seed: int,
    cache: Callable[[str], Path | None] = lambda name: None,
    tell: Tell = untold,
) -> Judges:
    """Judges of other seeds, trained on images that no guide has seen; none where no images are known.

    Args:
        encoder: whether texts or pictures are wished for, which a second encoder judges.
        cache: the folder of a name in which what is trained is kept, or None.
    """
    if known is None:
        return Judges(None, None, None)
    labels = known.judge.labels
    labelled = labels is not None and len(labels[labels >= 0].unique()) > 1
    kept: dict[str, Any] = {"cache": cache("judges"), "tell": tell}
    classifier = kept_judge(known.judge, None, seed=seed + _JUDGE_SEED, **kept) if labelled else None
    if classifier is not None and poor(classifier, known.judge, tell=tell):
        classifier = None
    made = text_encoder(known.judge, seed=seed + _JUDGE_SEED, cache=cache("text")) if encoder else None
    return Judges(made, classifier, known.reference)
