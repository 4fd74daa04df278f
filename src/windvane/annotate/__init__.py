"""Annotation without labels: features, clusters, and the ids that condition a model."""

from windvane.annotate.control_spec import Control
from windvane.annotate.controls import (
    GreyImages,
    grey,
    moved_regions,
    noisy_ids,
    random_ids,
    shuffled_regions,
    split_ids,
)
from windvane.annotate.feature_shards import FeatureShards
from windvane.annotate.features import (
    PCA,
    DenoiserFeatures,
    FeatureExtractor,
    HubEncoder,
    Module,
    Pixels,
    SelfSup,
    extract,
    extract_shards,
    features_from,
)
from windvane.annotate.image_annotator import annotate
from windvane.annotate.images.annotation import Annotation
from windvane.annotate.images.choice_of_k import Candidate, ChoiceOfK, candidates, choose_k
from windvane.annotate.images.clusters import Clusters
from windvane.annotate.images.id_draws import draw_ids
from windvane.annotate.images.interpolation import interpolate, sample_path, slerp
from windvane.annotate.images.statistics import agreement, balance, stability
from windvane.annotate.images.vectors import (
    centroid_vectors,
    feature_vectors,
    label_and_cluster,
    neighbour_vectors,
)
from windvane.annotate.process_group import Group
from windvane.annotate.regions import BoxAnnotation, MaskAnnotation, Origin, RegionConditions
from windvane.annotate.regions.boxes.coco_export import original_sizes, to_coco, write_coco
from windvane.annotate.regions.boxes.coco_import import boxes_from_coco, masks_from_coco
from windvane.annotate.regions.finders import find_boxes, find_masks, find_objects, regions_of
from windvane.annotate.storage import load_annotation, load_regions, save_annotation, save_regions

__all__ = [
    "PCA",
    "Annotation",
    "BoxAnnotation",
    "Candidate",
    "ChoiceOfK",
    "Clusters",
    "DenoiserFeatures",
    "FeatureExtractor",
    "FeatureShards",
    "Group",
    "HubEncoder",
    "MaskAnnotation",
    "Module",
    "Origin",
    "Pixels",
    "RegionConditions",
    "SelfSup",
    "agreement",
    "annotate",
    "balance",
    "boxes_from_coco",
    "candidates",
    "choose_k",
    "draw_ids",
    "extract",
    "extract_shards",
    "features_from",
    "find_boxes",
    "find_masks",
    "find_objects",
    "load_annotation",
    "load_regions",
    "masks_from_coco",
    "noisy_ids",
    "original_sizes",
    "random_ids",
    "regions_of",
    "save_annotation",
    "save_regions",
    "split_ids",
    "stability",
    "to_coco",
    "write_coco",
    "centroid_vectors",
    "feature_vectors",
    "label_and_cluster",
    "neighbour_vectors",
    "Control",
    "GreyImages",
    "grey",
    "moved_regions",
    "shuffled_regions",
    "interpolate",
    "sample_path",
    "slerp",
]
