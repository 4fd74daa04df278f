"""Similarity of embeddings: to a reference image, whatever its layout, and to a text."""

from collections.abc import Callable

import torch
from torch import Tensor

from windvane.arguments import shown
from windvane.conditions import Condition
from windvane.energies.base import Energy
from windvane.energies.targets import Eye, Reference, Sight, as_target, rows_of


def _cosine(a: Tensor, b: Tensor, name: str) -> Tensor:
    if not all(isinstance(one, Tensor) and one.ndim >= 2 for one in (a, b)):
        raise ValueError(f"the energy {name!r} compares embeddings (B, D), got {shown(a)} and {shown(b)}")
    a, b = a.flatten(1), b.flatten(1).to(a)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"the energy {name!r} compares embeddings of {a.shape[1]} and {b.shape[1]} numbers")
    return torch.nn.functional.cosine_similarity(a, b, dim=1)


class ImageSimilarity(Energy):
    """cos(E(x), E(reference)): what is in the picture, wherever it stands.

    SDG's image guidance (Liu et al. 2023, arXiv 2112.05744, section 3.3) with a noise-aware E (``timed``)
    and a :class:`~windvane.energies.Reference` that is noised to x's own level.

    Args:
        encoder: ``(B, *) -> (B, D)``, pooled features; with ``timed`` also given t.
        target: the reference, ``(1, *)`` or ``(B, *)``; a :class:`Reference`; or a signal's name.
    """

    def __init__(
        self,
        encoder: Callable[..., Tensor],
        target: Tensor | str | Reference,
        *,
        timed: bool = False,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        name: str = "image similarity",
    ) -> None:
        self.name = name
        self.eye = Eye(encoder, timed=timed, preprocess=preprocess)
        self.sight = Sight(self.eye, target)
        self.signals = self.sight.signals

    def log_likelihood(self, x: Tensor, t: Tensor, cond: Condition | None) -> Tensor:
        return _cosine(self.eye(x, t, self.name), self.sight(x, t, cond, self.name), self.name)


class TextSimilarity(Energy):
    """cos(E(x), e) for the embedding e of a text in the image encoder's space (SDG, section 3.2).

    Args:
        image_encoder: ``(B, *) -> (B, D)``; with ``timed`` also given t.
        embedding: ``(D,)``, ``(1, D)`` or ``(B, D)``, or the name of a condition's signal with them.
    """

    def __init__(
        self,
        image_encoder: Callable[..., Tensor],
        embedding: Tensor | str,
        *,
        timed: bool = False,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        name: str = "text similarity",
    ) -> None:
        self.name = name
        self.eye = Eye(image_encoder, timed=timed, preprocess=preprocess)
        given = as_target(embedding, name)
        self.embedding = given[None] if isinstance(given, Tensor) and given.ndim == 1 else given
        self.signals = frozenset({embedding}) if isinstance(embedding, str) else frozenset()

    @classmethod
    def of(
        cls,
        image_encoder: Callable[..., Tensor],
        text_encoder: Callable[[list[str]], Tensor],
        text: str | list[str],
        *,
        timed: bool = False,
        preprocess: Callable[[Tensor], Tensor] | None = None,
    ) -> "TextSimilarity":
        """The similarity to ``text``: one sentence for all samples, or one for each."""
        texts = [text] if isinstance(text, str) else list(text)
        with torch.no_grad():
            embedding = text_encoder(texts)
        if embedding.ndim != 2 or len(embedding) != len(texts):
            raise ValueError(
                f"the text encoder must give ({len(texts)}, D) for {len(texts)} texts, "
                f"got {tuple(embedding.shape)}"
            )
        name = f"text {texts[0]!r}" if len(texts) == 1 else "text similarity"
        return cls(image_encoder, embedding, timed=timed, preprocess=preprocess, name=name)

    def log_likelihood(self, x: Tensor, t: Tensor, cond: Condition | None) -> Tensor:
        target = rows_of(self.embedding, x, cond, self.name)
        return _cosine(self.eye(x, t, self.name), target, self.name)
