"""What is measured of steered samples, by judges that had no part in steering."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from windvane.data import ImageData
from windvane.energies import gram
from windvane.judges import Judge
from windvane.metrics import frechet, mean_distances, nearest
from windvane.tasks.steering.goals import Wish
from windvane.text import TextImageEncoder, describe, top_k

#: For tables: name, and whether more is better.
ARROWS = {"higher": "↑", "lower": "↓"}
#: What agreement is called, by the kind of a wish, and which way it is better.
MEASURES = {
    "text": ("similarity", "higher"),
    "like": ("similarity", "higher"),
    "content": ("feature distance", "lower"),
    "style": ("Gram distance", "lower"),
}
#: What measures where no network does.
PIXELS, OPERATOR = "pixels", "the operator"


@dataclass(frozen=True)
class Score:
    """One measured number."""

    name: str
    value: float
    better: str
    by: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; a number that is not finite becomes None."""
        value = self.value if math.isfinite(self.value) else None
        return {"name": self.name, "value": value, "better": self.better, "by": self.by}


class Judges:
    """An encoder and a classifier of their own seeds, trained on images that no guide has seen.

    Args:
        encoder: judges texts and pictures, or None.
        classifier: judges classes, and is the feature space of distances; or None.
        reference: images to compare all samples with.
    """

    def __init__(
        self, encoder: TextImageEncoder | None, classifier: Judge | None, reference: ImageData | None
    ) -> None:
        self.encoder, self.classifier, self.reference = encoder, classifier, reference
        self._theirs: Tensor | None = None

    @property
    def space(self) -> str:
        """The name of the feature space."""
        maker = self.classifier or self.encoder
        return PIXELS if maker is None else maker.name

    def features(self, images: Tensor) -> Tensor:
        """The classifier's features, or else the encoder's embeddings, or else pixels: ``(n, D)`` float64."""
        if self.classifier is not None:
            return in_parts(self.classifier.features, images).double()
        if self.encoder is not None:
            return in_parts(self.encoder.image, images).double()
        return images.flatten(1).double()

    def nearness(self, kind: str, images: Tensor, targets: Tensor | Sequence[str]) -> Tensor:
        """How near every image is to every target, ``(n, m)``, for the encoder; larger is nearer.

        Cosines for texts and for what is in a picture ("like"), minus a distance of feature maps for its
        layout ("content") and of their Gram matrices for its style.

        Args:
            targets: sentences for the kind "text", else pictures ``(m, C, H, W)``.
        """
        encoder = self.encoder
        if encoder is None:
            raise ValueError("nearness needs a judge that sees texts and pictures in one space")
        with torch.no_grad():
            if isinstance(targets, Tensor) and kind in ("content", "style"):
                theirs = encoder.maps(targets)
                return in_parts(lambda x: -map_distances(kind, encoder.maps(x), theirs), images)
            wanted = (
                encoder.image(targets) if isinstance(targets, Tensor) else encoder.text(targets, warn=False)
            )
            ours = in_parts(encoder.image, images)
            return F.normalize(ours, dim=1) @ F.normalize(wanted, dim=1).T

    def theirs(self) -> Tensor | None:
        """The features of the reference images, computed once."""
        if self._theirs is None and self.reference is not None:
            self._theirs = self.features(self.reference.batch(slice(None)))
        return self._theirs

    def overall(self, images: Tensor) -> list[Score]:
        """Fréchet distance to the reference, where there are images enough, and diversity."""
        ours, by = self.features(images.clamp(-1, 1)), self.space
        found, theirs = [], self.theirs()
        if theirs is not None:
            if min(len(ours), len(theirs)) > ours.shape[1]:
                value = frechet(ours, theirs, resamples=0, bias=False).value
                found.append(Score("Fréchet distance", value, "lower", by))
            value = float(nearest(ours, theirs).distances.mean())
            found.append(Score("distance to the nearest real image", value, "lower", by))
        if len(ours) > 1:
            found.append(Score("diversity", float(mean_distances(ours).mean()), "higher", by))
        return found

    def of(self, wish: Wish, images: Tensor) -> list[Score]:
        """How far the images have what was wished for; [] where no judge can tell."""
        images = images.clamp(-1, 1)
        with torch.no_grad():
            if wish.kind == "measure":
                return _residual(wish, images)
            if wish.kind == "class":
                return self._class(wish, images)
            if self.encoder is None:
                return []
            if wish.kind == "text":
                return self._text(wish, images)
            return self._picture(wish, images)

    def _class(self, wish: Wish, images: Tensor) -> list[Score]:
        if self.classifier is None or wish.label is None or wish.label >= self.classifier.classes:
            return []
        right = in_parts(self.classifier.classify, images).argmax(1) == wish.label
        return [Score(f"{wish.title}: share", float(right.double().mean()), "higher", self.classifier.name)]

    def _text(self, wish: Wish, images: Tensor) -> list[Score]:
        assert self.encoder is not None
        text, by = wish.extra["text"], self.encoder.name
        try:
            target = self.encoder.text([text], warn=False)
        except ValueError:  # a guide with a larger vocabulary may understand what this judge does not
            return []
        ours = in_parts(self.encoder.image, images)
        name, better = MEASURES["text"]
        found = [Score(f"{wish.title}: {name}", float((ours @ target.T).mean()), better, by)]
        if self.reference is not None and self.reference.labels is not None:
            told = describe(self.reference)
            sentences, mentioned = told.candidates()
            wanted = torch.tensor(told.understood(text))
            own = ((wanted == -1) | (wanted == mentioned)).all(1) & bool((wanted != -1).any())
            others = self.encoder.text(sentences, warn=False)
            right = torch.cat([torch.ones(1, dtype=torch.bool), own]).expand(len(ours), -1)
            for k, rate in top_k(ours, torch.cat([target, others]), right, (1, 5)).items():
                found.append(Score(f"{wish.title}: top-{k} of {len(right[0])}", rate, "higher", by))
        return found

    def _picture(self, wish: Wish, images: Tensor) -> list[Score]:
        assert self.encoder is not None and wish.image is not None
        value = float(self.nearness(wish.kind, images, wish.image.to(images)).mean())
        name, better = MEASURES[wish.kind]
        sign = 1 if better == "higher" else -1
        return [Score(f"{wish.title}: {name}", sign * value, better, self.encoder.name)]


def in_parts(look: Callable[[Tensor], Tensor], images: Tensor, size: int = 256) -> Tensor:
    """``look(images)``, ``size`` at a time and without gradients."""
    with torch.no_grad():
        return torch.cat([look(part) for part in images.split(size)])


def map_distances(kind: str, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """Between all pairs of n and m images, ``(n, m)``, summed over their maps ``(n, C_j, H_j, W_j)``.

    "content": mean squared differences; "style": Frobenius distances of Gram matrices.
    """
    total = torch.zeros(())
    for a, b in zip(ours, theirs, strict=True):
        one, other = ((gram(f) if kind == "style" else f).flatten(1) for f in (a, b))
        gaps = torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")
        total = total + (gaps if kind == "style" else gaps.square() / one.shape[1])
    return total


def _residual(wish: Wish, images: Tensor) -> list[Score]:
    assert wish.operator is not None and wish.image is not None
    gap = wish.operator(images) - wish.image.to(images)
    value = gap.flatten(1).square().mean(1).sqrt().mean()
    return [Score(f"{wish.title}: residual (RMS)", float(value), "lower", OPERATOR)]


def measured(judges: Judges, wishes: Sequence[Wish], images: Tensor) -> list[Score]:
    """All scores of one set of samples."""
    return [*(score for wish in wishes for score in judges.of(wish, images)), *judges.overall(images)]


def unjudged(wishes: Sequence[Wish], scores: Sequence[Score]) -> list[str]:
    """A sentence for every wish that no judge could tell, so that a missing number is no silent one."""
    return [
        f"no judge can tell how far the samples have {wish.title}: only its guide's own opinion is reported"
        for wish in wishes
        if not any(score.name.startswith(f"{wish.title}: ") for score in scores)
    ]
