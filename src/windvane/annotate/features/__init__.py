"""Feature extractors: from an image to a vector, without labels."""

from windvane.annotate.features.augmentation import Augment
from windvane.annotate.features.by_name import features_from
from windvane.annotate.features.contrastive import nt_xent
from windvane.annotate.features.denoiser import DenoiserFeatures
from windvane.annotate.features.extraction import cached_shards, extract, extract_shards
from windvane.annotate.features.extractor import FeatureExtractor, FittedExtractor, Images
from windvane.annotate.features.extractor_storage import load_extractor, save_extractor
from windvane.annotate.features.hub_encoder import HubEncoder
from windvane.annotate.features.module import Module
from windvane.annotate.features.pixels import PCA, Pixels
from windvane.annotate.features.selfsup import SelfSup

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
