"""What is said of places in images: boxes and masks, and what finds them."""

from windvane.annotate.regions.box_annotation import BoxAnnotation
from windvane.annotate.regions.mask_annotation import MaskAnnotation
from windvane.annotate.regions.region_annotation import Origin, RegionAnnotation, RegionConditions
from windvane.annotate.regions.region_rule import RegionRule

__all__ = [
    "BoxAnnotation",
    "MaskAnnotation",
    "Origin",
    "RegionAnnotation",
    "RegionConditions",
    "RegionRule",
]
