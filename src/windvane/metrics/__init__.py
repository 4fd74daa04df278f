"""Numbers about samples: quality, diversity, agreement with the condition, memorisation.

Every function works on features ``(n, D)`` of any extractor, or on images through one, and returns a
`Metric`: a value with its interval, its feature space and its numbers of images. Judges that measure are
never the guides that steered.
"""

import warnings
from typing import Any

from windvane.metrics.agreement import agreement, cluster_agreement, judge_agreement, majority_labels
from windvane.metrics.bootstrap import (
    Interval,
    linear_bootstrap,
    mean_interval,
    over_seeds,
    proportion_interval,
)
from windvane.metrics.calibration import Calibration, calibration_error, trajectory_calibration
from windvane.metrics.distances import nearest, nearest_of_parts
from windvane.metrics.diversity import mean_distances, within_condition_diversity
from windvane.metrics.evaluate import METRICS, evaluate
from windvane.metrics.features import Pixels, extract_features
from windvane.metrics.frechet import frechet, frechet_between, frechet_bias, frechet_distance
from windvane.metrics.kernel import kernel_distance, polynomial_kernel
from windvane.metrics.manifold import manifold
from windvane.metrics.memorisation import Memorisation, nearest_training, nearest_training_images
from windvane.metrics.result import Metric, across_seeds, format_table, to_rows
from windvane.metrics.segmentation import match_clusters, mean_iou, pixel_accuracy
from windvane.metrics.statistics import GaussianStatistics, image_statistics

__all__ = [
    "METRICS",
    "Calibration",
    "GaussianStatistics",
    "Interval",
    "Memorisation",
    "Metric",
    "Pixels",
    "across_seeds",
    "agreement",
    "calibration_error",
    "cluster_agreement",
    "evaluate",
    "extract_features",
    "format_table",
    "frechet",
    "frechet_between",
    "frechet_bias",
    "frechet_distance",
    "image_statistics",
    "judge_agreement",
    "kernel_distance",
    "linear_bootstrap",
    "majority_labels",
    "manifold",
    "match_clusters",
    "mean_distances",
    "mean_interval",
    "mean_iou",
    "nearest",
    "nearest_of_parts",
    "nearest_training",
    "nearest_training_images",
    "over_seeds",
    "pixel_accuracy",
    "polynomial_kernel",
    "proportion_interval",
    "to_rows",
    "trajectory_calibration",
    "within_condition_diversity",
]


def __getattr__(name: str) -> Any:
    if name not in ("Judge", "train_judge"):
        raise AttributeError(f"module 'windvane.metrics' has no attribute {name!r}")
    import importlib

    message = (
        f"windvane.metrics.{name} is windvane.judges.{name} now; the old name goes with the next release"
    )
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module("windvane.judges"), name)
