"""Controls by a short text, as the command line and configurations name them."""

from dataclasses import dataclass
from typing import Literal, Self

from torch import Tensor

from windvane.annotate.controls import noisy_ids, random_ids, split_ids
from windvane.annotate.images.annotation import Annotation

Kind = Literal["random", "noise", "split", "grey", "labels"]
_KNOWN = (
    "random, noise:RATIO, split:PARTS, grey, labels, labels+random, labels+noise:RATIO, labels+split:PARTS"
)


@dataclass(frozen=True)
class Control:
    """What is done to clusters, or with ``labels`` to the true labels, before a model is conditioned on them.

    Args:
        kind: "random" (dealt to other images), "noise" (a share is wrong), "split" (each into random parts),
            "grey" (clusters of features that saw no colour), "labels" (the true labels as they are).
        labels: it is the true labels that are changed, not the clusters.
        amount: the ratio of noise, or the number of parts.
    """

    kind: Kind
    labels: bool = False
    amount: float = 0

    @classmethod
    def read(cls, text: str) -> Self:
        """The control a text names.

        Raises:
            ValueError: an unknown text, a ratio outside [0, 1], fewer than two parts.
        """
        base, plus, rest = text.partition("+")
        labels = base == "labels"
        kind, _, number = (rest if plus and labels else text).partition(":")
        try:
            if kind == "random" and not number:
                return cls("random", labels)
            if kind in ("labels", "grey") and text == kind:
                return cls("labels" if labels else "grey", labels)
            if kind == "noise" and 0 <= float(number) <= 1:
                return cls("noise", labels, float(number))
            if kind == "split" and int(number) >= 2:
                return cls("split", labels, int(number))
        except ValueError:
            pass
        raise ValueError(
            f"unknown control {text!r}; known: {_KNOWN}, with a ratio in [0, 1] and at least 2 parts"
        )

    def apply(self, annotation: Annotation, labels: Tensor | None = None, *, seed: int = 0) -> Annotation:
        """The annotation whose ids are this control of the clusters or of the labels.

        There is no rule for new images, so none is kept.

        Args:
            annotation: the clusters; of features without colour where ``kind`` is "grey".
            labels: ``(n,)`` of the same images.
            seed: of what is drawn.

        Raises:
            ValueError: labels are asked for and missing for an image, or noise on a single id.
        """
        ids, k, name = annotation.ids, annotation.k, "clusters"
        if self.labels:
            if labels is None or len(labels) != len(ids) or bool((labels < 0).any()):
                raise ValueError("a control of the labels needs a label for every image")
            ids, k, name = labels.long(), int(labels.max()) + 1, "labels"
        if self.kind == "random":
            ids, name = random_ids(ids, seed=seed), f"random {name}"
        elif self.kind == "noise":
            ids, name = noisy_ids(ids, ratio=self.amount, k=k, seed=seed), f"{name}, {self.amount:g} wrong"
        elif self.kind == "split":
            ids, name = split_ids(ids, parts=int(self.amount), seed=seed), f"{name} in {self.amount:g} parts"
            k *= int(self.amount)
        elif self.kind == "grey":
            name = f"{name} without colour"
        # Nearness to a centre says which members are typical, as long as the groups are the clusters.
        kept = annotation.distances if self.kind == "grey" else None
        return Annotation(ids, k, fingerprint=annotation.fingerprint, source=name, distances=kept)


def of_labels(source: str) -> bool:
    """Whether ids of this :attr:`Annotation.source` are the true labels, or a control made of these.

    Their agreement with the labels says nothing about clusters.
    """
    return source.startswith(("labels", "random labels"))


def with_fingerprint(annotation: Annotation, fingerprint: str) -> Annotation:
    """The ids and distances of an annotation for images of another fingerprint, such as the coloured ones."""
    return Annotation(
        annotation.ids,
        annotation.k,
        fingerprint=fingerprint,
        source=annotation.source,
        distances=annotation.distances,
    )
