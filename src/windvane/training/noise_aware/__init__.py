"""Guides that know noise: encoders and classifiers for x_t, made from ones for clean data."""

from windvane.training.noise_aware.alignment import align, info_nce
from windvane.training.noise_aware.classifier import train_classifier
from windvane.training.noise_aware.distances import Distance, sharpened_kl, squared_error
from windvane.training.noise_aware.encoder import NoiseAware, noise_aware
from windvane.training.noise_aware.experts import Experts, adapt_guide
from windvane.training.noise_aware.fitting import Fit
from windvane.training.noise_aware.low_rank import LowRank, LowRankWeight, add_low_rank, merge
from windvane.training.noise_aware.ranges import NoiseRanges, RangeTimes

__all__ = [
    "Distance",
    "Experts",
    "Fit",
    "LowRank",
    "LowRankWeight",
    "NoiseAware",
    "NoiseRanges",
    "RangeTimes",
    "add_low_rank",
    "adapt_guide",
    "align",
    "info_nce",
    "merge",
    "noise_aware",
    "sharpened_kl",
    "squared_error",
    "train_classifier",
]
