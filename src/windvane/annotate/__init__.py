"""Annotation without labels: features, clusters, and the ids that condition a model."""

from windvane.annotate.annotation import Annotation
from windvane.annotate.annotator import annotate
from windvane.annotate.choose import Candidate, ChoiceOfK, choose_k
from windvane.annotate.clusters import Clusters
from windvane.annotate.controls import noisy_ids, random_ids, split_ids
from windvane.annotate.draws import draw_ids
from windvane.annotate.features import (
    PCA,
    DenoiserFeatures,
    FeatureExtractor,
    HubEncoder,
    Module,
    Pixels,
    SelfSup,
    extract,
    features_from,
)
from windvane.annotate.report import agreement, balance, stability
from windvane.annotate.storage import load_annotation, save_annotation

__all__ = [
    "PCA",
    "Annotation",
    "Candidate",
    "ChoiceOfK",
    "Clusters",
    "DenoiserFeatures",
    "FeatureExtractor",
    "HubEncoder",
    "Module",
    "Pixels",
    "SelfSup",
    "agreement",
    "annotate",
    "balance",
    "choose_k",
    "draw_ids",
    "extract",
    "features_from",
    "load_annotation",
    "noisy_ids",
    "random_ids",
    "save_annotation",
    "split_ids",
    "stability",
]
