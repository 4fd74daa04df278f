"""Numbers about samples: quality, diversity, agreement with the condition, memorisation.

Every function works on features ``(n, D)`` of any extractor, or on images through one, and returns a
`Metric`: a value with its interval, its feature space and its numbers of images. Judges that measure are
never the guides that steered.
"""

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
from windvane.metrics.judge import Judge
from windvane.metrics.judge_training import train_judge
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
    "Judge",
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
    "train_judge",
    "trajectory_calibration",
    "within_condition_diversity",
]
