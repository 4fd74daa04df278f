"""Annotation without labels: features, clusters, and the ids that condition a model."""

from windvane.annotate.annotation import Annotation
from windvane.annotate.annotator import annotate
from windvane.annotate.boxes.coco import original_sizes, to_coco, write_coco
from windvane.annotate.boxes.coco_reading import boxes_from_coco, masks_from_coco
from windvane.annotate.choose import Candidate, ChoiceOfK, candidates, choose_k
from windvane.annotate.clusters import Clusters
from windvane.annotate.continuous import (
    centroid_vectors,
    feature_vectors,
    label_and_cluster,
    neighbour_vectors,
)
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
    extract_shards,
    features_from,
)
from windvane.annotate.find import find_boxes, find_masks, find_objects
from windvane.annotate.group import Group
from windvane.annotate.interpolation import interpolate, sample_path, slerp
from windvane.annotate.lazy import RegionConditions
from windvane.annotate.regions import BoxAnnotation, MaskAnnotation, Origin
from windvane.annotate.regions_storage import load_regions, save_regions
from windvane.annotate.report import agreement, balance, stability
from windvane.annotate.rule_storage import regions_of
from windvane.annotate.shards import FeatureShards
from windvane.annotate.storage import load_annotation, save_annotation

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
