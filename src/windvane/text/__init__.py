"""Text and images in one space, offline: a small pair of encoders trained on the images at hand."""

from windvane.text.encoder import Look, TextImageEncoder
from windvane.text.retrieval import chance, text_retrieval, top_k
from windvane.text.sentences import Described, describe, from_captions
from windvane.text.training import (
    NoisyClassifier,
    contrastive_loss,
    known_words,
    train_noisy_classifier,
    train_text_encoder,
    vocabulary_of,
)
from windvane.text.views import noisy_views, posterior_mean
from windvane.text.words import UnknownWords, Vocabulary

__all__ = [
    "Described",
    "Look",
    "NoisyClassifier",
    "TextImageEncoder",
    "UnknownWords",
    "Vocabulary",
    "chance",
    "contrastive_loss",
    "describe",
    "from_captions",
    "known_words",
    "noisy_views",
    "posterior_mean",
    "text_retrieval",
    "top_k",
    "train_noisy_classifier",
    "train_text_encoder",
    "vocabulary_of",
]
