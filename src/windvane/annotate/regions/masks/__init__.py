"""One id per pixel, found without labels."""

from windvane.annotate.regions.masks.correspondence import pair_loss, stego_loss
from windvane.annotate.regions.masks.crf import DenseCRF
from windvane.annotate.regions.masks.geometry import Views, nearest, resize_boxes
from windvane.annotate.regions.masks.patch_clusters import PatchClusters
from windvane.annotate.regions.masks.segmenter import Segmenter, segment
from windvane.annotate.regions.masks.stego import Stego

__all__ = [
    "DenseCRF",
    "PatchClusters",
    "Segmenter",
    "Stego",
    "Views",
    "nearest",
    "pair_loss",
    "resize_boxes",
    "segment",
    "stego_loss",
]
