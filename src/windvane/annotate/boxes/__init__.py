"""One box per image, found without labels."""

from windvane.annotate.boxes.components import bounding_boxes, component_of
from windvane.annotate.boxes.geometry import PatchGrid, box_masks, corloc, iou
from windvane.annotate.boxes.lost import Regions, lost
from windvane.annotate.boxes.ncut import normalised_cut

__all__ = [
    "PatchGrid",
    "Regions",
    "bounding_boxes",
    "box_masks",
    "component_of",
    "corloc",
    "iou",
    "lost",
    "normalised_cut",
]
