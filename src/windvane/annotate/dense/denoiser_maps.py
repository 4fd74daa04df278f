"""Dense features from inside a trained denoiser: no second network."""

import torch
from torch import Tensor

from windvane.annotate.dense.inner_maps import InnerMaps
from windvane.annotate.features.denoiser import DenoiserFeatures
from windvane.annotate.features.extractor import beside


class DenoiserMaps(InnerMaps):
    """The maps of one layer of a denoiser's network, before the average over positions.

        g_p(x) = 1/M sum_m h_p(alpha(t) x + sigma(t) eps_m, t)

    Layer, noise level and noises are those of :class:`windvane.annotate.DenoiserFeatures`.

    Args:
        features: the denoiser's features; the denoiser must say the shape of its data.

    Raises:
        ValueError: a denoiser without shape, a layer without positions, or one whose maps do not divide
            the image evenly.
    """

    def __init__(self, features: DenoiserFeatures) -> None:
        self.features = features
        shape = features._shape
        if shape is None or len(shape) != 3:
            raise ValueError(
                f"the denoiser must say the shape (C, H, W) of its images, got {shape}; build it with shape="
            )
        with torch.no_grad():
            maps = features.maps(torch.zeros(1, *shape, device=features._device()))
        if maps.ndim != 4:
            raise ValueError(f"the layer {features.layer!r} has no positions: it gives {tuple(maps.shape)}")
        lines, columns = maps.shape[-2:]
        stride = shape[1] // lines
        if (lines * stride, columns * stride) != tuple(shape[1:]):
            raise ValueError(
                f"maps of {lines} x {columns} do not divide images of {shape[1]} x {shape[2]} evenly"
            )
        self._dim, self._stride = maps.shape[1], stride

    @property
    def name(self) -> str:
        """The version: that of the denoiser's features."""
        return f"maps:{self.features.name}"

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, dim, h, w)`` of images ``(B, C, H, W)`` in [-1, 1]; differentiable."""
        return self.features.maps(beside(images, self.features._tap)).float()
