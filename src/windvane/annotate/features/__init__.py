"""Feature extractors: from an image to a vector, without labels."""

from windvane.annotate.features.augment import Augment
from windvane.annotate.features.base import FeatureExtractor, FittedExtractor, Images
from windvane.annotate.features.contrastive import nt_xent
from windvane.annotate.features.denoiser import DenoiserFeatures
from windvane.annotate.features.encoder import HubEncoder
from windvane.annotate.features.extraction import cached_shards, extract, extract_shards
from windvane.annotate.features.module import Module
from windvane.annotate.features.pixels import PCA, Pixels
from windvane.annotate.features.selfsup import SelfSup
from windvane.annotate.features.spec import features_from
from windvane.annotate.features.stored import load_extractor, save_extractor

__all__ = [
    "PCA",
    "Augment",
    "DenoiserFeatures",
    "FeatureExtractor",
    "FittedExtractor",
    "HubEncoder",
    "Images",
    "Module",
    "Pixels",
    "SelfSup",
    "cached_shards",
    "extract",
    "extract_shards",
    "features_from",
    "load_extractor",
    "nt_xent",
    "save_extractor",
]
