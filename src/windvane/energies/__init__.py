"""Energies: how well each sample fits, as a log-likelihood per sample; they add."""

from windvane.energies.base import Energy, Sum
from windvane.energies.classes import ClassLogProb, smooth
from windvane.energies.decoded import Decoded
from windvane.energies.features import FeatureMatch, GramStyle, gram
from windvane.energies.measurement import Measurement, MeasurementNorm
from windvane.energies.reward import Reward
from windvane.energies.similarity import ImageSimilarity, TextSimilarity
from windvane.energies.targets import Reference

__all__ = [
    "ClassLogProb",
    "Decoded",
    "Energy",
    "FeatureMatch",
    "GramStyle",
    "ImageSimilarity",
    "Measurement",
    "MeasurementNorm",
    "Reference",
    "Reward",
    "Sum",
    "TextSimilarity",
    "gram",
    "smooth",
]
