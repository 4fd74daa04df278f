"""Dense features: one vector for every patch of an image, from any source through one protocol."""

from windvane.annotate.dense.denoiser_maps import DenoiserMaps
from windvane.annotate.dense.dense_extractor import DenseExtractor, dense_batches, to_pixels
from windvane.annotate.dense.encoder_maps import EncoderMaps
from windvane.annotate.dense.hub_patches import HubPatches
from windvane.annotate.dense.patches import Patches
from windvane.annotate.dense.position_samples import sample_vectors
from windvane.annotate.dense.restoration import Restoration
from windvane.annotate.patch_grid import patch_counts

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
