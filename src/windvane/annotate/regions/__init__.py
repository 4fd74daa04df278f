"""What is said of places in images: boxes and masks, and what finds them."""

from windvane.annotate.regions.annotations import BoxAnnotation, MaskAnnotation, Origin

__all__ = ["BoxAnnotation", "MaskAnnotation", "Origin"]
