"""Dense features: one vector for every patch of an image, from any source through one protocol."""

from windvane.annotate.dense.base import (
    DenseExtractor,
    dense_batches,
    patch_counts,
    to_pixels,
)
from windvane.annotate.dense.denoiser import DenoiserMaps
from windvane.annotate.dense.drawn import sample_vectors
from windvane.annotate.dense.encoder import EncoderMaps
from windvane.annotate.dense.hub import HubPatches
from windvane.annotate.dense.patches import Patches
from windvane.annotate.dense.restore import Restoration

__all__ = [
    "DenoiserMaps",
    "DenseExtractor",
    "EncoderMaps",
    "HubPatches",
    "Patches",
    "Restoration",
    "dense_batches",
    "patch_counts",
    "sample_vectors",
    "to_pixels",
]
