"""Training the encoders on images and sentences made for them."""

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from windvane.adapters import SentenceEncoder, load_sentence_encoder
from windvane.data import ImageData
from windvane.files import discard
from windvane.randomness import derive_seed, generator, scoped_seed
from windvane.text.encoder import FORMAT, TextImageEncoder
from windvane.text.sentences import Described, describe, from_captions, words_of
from windvane.text.towers import CLEAN, ImageTower, SentenceTower
from windvane.text.views import noisy_views
from windvane.text.words import Vocabulary
from windvane.training.descent import descend, warm_cosine

_STEPS = 700
_KNOWN = 512
_MOST = 20_000


def contrastive_loss(images: Tensor, texts: Tensor, true: Tensor, sharpness: Tensor) -> Tensor:
    """Both directions of the contrastive loss where several texts may be true of an image.

    With Z = sharpness images texts^T and the sets P(i) of texts true of image i, the mean over i of
    -1 / |P(i)| sum_{j in P(i)} log softmax_j(Z_i), and the same for texts, halved. For a diagonal ``true``
    it is CLIP's loss.

    Args:
        images, texts: ``(B, D)`` of length 1.
        true: bool ``(S, B)``, with at least one true pair in every row and column.
    """
    z = sharpness * images @ texts.T

    def one(logits: Tensor, positive: Tensor) -> Tensor:
        share = positive / positive.sum(1, keepdim=True).clamp(min=1)
        return -(share * logits.log_softmax(1)).sum(1).mean()

    return (one(z, true.T.to(z)) + one(z.T, true.to(z))) / 2


def train_text_encoder(
    data: ImageData,
    captions: Sequence[str] | None = None,
    *,
    sentences: str | Path | SentenceEncoder | None = None,
    steps: int = _STEPS,
    batch_size: int = 256,
    learning_rate: float = 2e-3,
    dim: int = 64,
    width: int = 32,
    seed: int = 0,
    cache: Path | None = None,
    progress: bool = True,
) -> TextImageEncoder:
    """A :class:`TextImageEncoder` for ``data``, trained on sentences, or the cached one of the same settings.

    The sentences come from labels and measured traits (:func:`~windvane.text.describe`), or are ``captions``.
    Images are seen as a guide will meet them (:func:`~windvane.text.noisy_views`).

    Args:
        captions: a sentence for each image, instead of made ones.
        sentences: folder or hub name of a text model of transformers, or one that
            :func:`~windvane.adapters.load_sentence_encoder` opened. It stays as it is; a projection of its
            embeddings is learnt, and any text is understood. None: a bag of the sentences' own words.
        cache: folder of trained encoders; the name holds the data's fingerprint and every setting.

    Raises:
        ValueError: images without labels and without captions, or another number of captions; a sentence
            encoder that cannot be opened, with the reason.
    """
    if captions is not None and len(captions) != len(data):
        raise ValueError(f"{len(data)} images need as many captions, got {len(captions)}")
    settings = {
        "format": FORMAT, "steps": steps, "batch_size": batch_size, "learning_rate": learning_rate,
        "dim": dim, "width": width, "seed": seed, "data": data.fingerprint, "shape": list(data.shape),
        "labels": None if data.labels is None else data.labels.tolist(), "names": data.label_names,
        "origin": data.origin,
        "captions": None if captions is None else list(captions),
    }  # fmt: skip
    reads = load_sentence_encoder(sentences) if isinstance(sentences, (str, Path)) else sentences
    if reads is not None:
        settings["sentences"] = reads.fingerprint
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]
    kept = None if cache is None else cache / f"text-{key}"
    if kept is not None and kept.is_dir():
        try:
            return TextImageEncoder.load(kept, sentences=reads)
        except ValueError as error:  # a cache may be thrown away at any time
            warnings.warn(f"the text encoder is trained again: {error}", stacklevel=2)
    told = from_captions(captions) if captions is not None else describe(data)
    about = {"seed": seed, "steps": steps, "images": len(data), "data": data.fingerprint}
    with scoped_seed(derive_seed(seed, 1)):
        encoder = TextImageEncoder(
            data.shape, vocabulary_of(told) if reads is None else reads, dim=dim, width=width, about=about
        )
    if reads is not None:
        random = generator(seed, 5)
        some = torch.randperm(len(data), generator=random)[:_KNOWN]
        assert isinstance(encoder.reading, SentenceTower)
        encoder.reading.fit(reads(told.draw(some, random)[0]))

    def loss(seen: Tensor, log_snr: Tensor, rows: Tensor, random: torch.Generator) -> Tensor:
        sentences, mentioned = told.draw(rows, random)
        true = told.true_of(mentioned, told.facts[rows])
        return contrastive_loss(
            encoder.image(seen, log_snr),
            encoder.text(sentences, warn=False),
            true,
            encoder.sharpness.exp().clamp(max=100),
        )

    fit_on_views(
        encoder, loss, data, steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed,
        what="training the text encoder", progress=progress,
    )  # fmt: skip
    if kept is not None:
        discard(kept)  # what was damaged
        encoder.save(kept)
    return encoder


def fit_on_views(
    module: nn.Module,
    loss: Callable[[Tensor, Tensor, Tensor, torch.Generator], Tensor],
    data: ImageData,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    what: str,
    progress: bool,
) -> None:
    """Minimise ``loss(seen, log_snr, rows, random)`` over noisy views of ``data``, then freeze the module.

    AdamW, a short warm-up and cosine decay. The same seed gives the same module on the same kind of machine.
    """
    order = torch.randperm(len(data), generator=generator(seed, 2))
    images = data.batch(order[:_MOST])
    known = images[:_KNOWN]

    def of_step(step: int) -> Tensor:
        random = generator(seed, 3, step)
        here = torch.randint(len(images), (min(batch_size, len(images)),), generator=random)
        seen, log_snr = noisy_views(images[here], known, random)
        return loss(seen, log_snr, order[here], random)

    descend(
        of_step, module.parameters(), steps=steps, lr=learning_rate, rate=warm_cosine(steps),
        weight_decay=0.05, clip_norm=1.0, name=what, progress=progress,
    )  # fmt: skip
    module.eval().requires_grad_(False)


def vocabulary_of(told: Described) -> Vocabulary:
    """Every word that a sentence about these images can have."""
    telling = [part for fact in told.words for value in fact for word in value for part in words_of(word)]
    filling = [part for text in (*told.frames, *told.nouns) for part in words_of(text.replace("{}", " "))]
    return Vocabulary(telling, filling)


def known_words(told: Described, most: int = 24) -> str:
    """The words that tell an encoder something of these images, at most so many, and where they are from."""
    words = vocabulary_of(told).telling
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return f"{', '.join(words[:most])}{more}: {told.why}"


class NoisyClassifier(nn.Module):
    """A classifier at any noise level: ``(x, log_snr) -> (B, classes)`` logits; clean by default."""

    def __init__(self, shape: Sequence[int], classes: int, width: int = 32) -> None:
        super().__init__()
        self.tower, self.classes = ImageTower(shape, classes, width), classes

    def image(self, x: Tensor, log_snr: Tensor | None = None) -> Tensor:
        """The logits, under the name by which :class:`~windvane.text.Look` asks."""
        return self.tower(x, x.new_full((len(x),), CLEAN) if log_snr is None else log_snr)

    forward = image


def train_noisy_classifier(
    data: ImageData,
    *,
    steps: int = 500,
    batch_size: int = 256,
    learning_rate: float = 2e-3,
    width: int = 32,
    seed: int = 0,
    progress: bool = True,
) -> NoisyClassifier:
    """A classifier of the labels of ``data`` for noisy, predicted and clean images.

    Raises:
        ValueError: images without labels.
    """
    if data.labels is None or len(data.labels[data.labels >= 0].unique()) < 2:
        raise ValueError("a classifier needs images with at least two labels")
    labelled = data.subset((data.labels >= 0).nonzero().flatten())
    labels = labelled.labels
    assert labels is not None
    with scoped_seed(derive_seed(seed, 4)):
        made = NoisyClassifier(data.shape, int(labels.max()) + 1, width)

    def loss(seen: Tensor, log_snr: Tensor, rows: Tensor, random: torch.Generator) -> Tensor:
        return F.cross_entropy(made(seen, log_snr), labels[rows].long(), label_smoothing=0.05)

    fit_on_views(
        made, loss, labelled, steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed,
        what="training the classifier", progress=progress,
    )  # fmt: skip
    return made
