"""One box per image, found without labels."""

from windvane.annotate.patch_grid import PatchGrid
from windvane.annotate.regions.boxes.components import bounding_boxes, component_of
from windvane.annotate.regions.boxes.geometry import box_masks, corloc, iou
from windvane.annotate.regions.boxes.lost_algorithm import Regions, lost
from windvane.annotate.regions.boxes.normalised_cut import normalised_cut

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
