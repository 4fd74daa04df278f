"""One id per pixel, found without labels."""

from windvane.annotate.masks.correspondence import pair_loss, stego_loss
from windvane.annotate.masks.crf import DenseCRF
from windvane.annotate.masks.geometry import Views, nearest, resize_boxes
from windvane.annotate.masks.patches import PatchClusters
from windvane.annotate.masks.segmenter import Segmenter, segment
from windvane.annotate.masks.stego import Stego

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
