"""What is measured of steered samples, by judges that had no part in steering."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from windvane.data import ImageData
from windvane.energies import gram
from windvane.metrics import Judge, frechet, mean_distances, nearest
from windvane.tasks.steering.wishes import Wish
from windvane.text import TextImageEncoder, describe, top_k

#: For tables: name, and whether more is better.
ARROWS = {"higher": "↑", "lower": "↓"}
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
        with torch.no_grad():
            if self.classifier is not None:
                return self.classifier.features(images).double()
            if self.encoder is not None:
                return self.encoder.image(images).double()
        return images.flatten(1).double()

    def overall(self, images: Tensor) -> list[Score]:
        """Fréchet distance to the reference, where there are images enough, and diversity."""
        ours, by = self.features(images.clamp(-1, 1)), self.space
        found = []
        if self.reference is not None:
            if self._theirs is None:
                self._theirs = self.features(self.reference.batch(slice(None)))
            if len(ours) > ours.shape[1] and len(self._theirs) > ours.shape[1]:
                value = frechet(ours, self._theirs, resamples=0, bias=False).value
                found.append(Score("Fréchet distance", value, "lower", by))
            found.append(Score("distance to the nearest real image", self._nearest(ours), "lower", by))
        if len(ours) > 1:
            found.append(Score("diversity", float(mean_distances(ours).mean()), "higher", by))
        return found

    def _nearest(self, ours: Tensor) -> float:
        assert self._theirs is not None
        return float(nearest(ours, self._theirs).distances.mean())

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
        right = self.classifier.classify(images).argmax(1) == wish.label
        return [Score(f"{wish.title}: share", float(right.double().mean()), "higher", self.classifier.name)]

    def _text(self, wish: Wish, images: Tensor) -> list[Score]:
        assert self.encoder is not None
        text, by = wish.extra["text"], self.encoder.name
        try:
            target = self.encoder.text([text], warn=False)
        except ValueError:  # a guide with a larger vocabulary may understand what this judge does not
            return []
        ours = self.encoder.image(images)
        found = [Score(f"{wish.title}: similarity", float((ours @ target.T).mean()), "higher", by)]
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
        by, theirs = self.encoder.name, wish.image.to(images)
        if wish.kind == "like":
            value = F.cosine_similarity(self.encoder.image(images), self.encoder.image(theirs)).mean()
            return [Score(f"{wish.title}: similarity", float(value), "higher", by)]
        pairs = zip(self.encoder.maps(images), self.encoder.maps(theirs))
        if wish.kind == "style":
            gaps = [(gram(a) - gram(b)).square().flatten(1).sum(1).sqrt() for a, b in pairs]
            return [Score(f"{wish.title}: Gram distance", float(sum(gaps).mean()), "lower", by)]  # type: ignore[union-attr]
        gaps = [(a - b).square().flatten(1).mean(1) for a, b in pairs]
        return [Score(f"{wish.title}: feature distance", float(sum(gaps).mean()), "lower", by)]  # type: ignore[union-attr]


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
