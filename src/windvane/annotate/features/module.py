"""Any torch module as a feature extractor."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from windvane.adapters.preprocess import Preprocess
from windvane.annotate.features.extractor import beside, version


class Module:
    """Features from a network of the user's own: v = net((resize((x + 1) / 2) - mean) / std).

    The module is put in evaluation mode and its parameters are frozen; gradients reach the images. An output
    with more than one dimension a row (maps, tokens) is averaged over all positions: ``(B, D, h, w)`` over
    space, ``(B, L, D)`` over the tokens.

    Args:
        module: ``(B, C, H, W) -> (B, D)``, ``(B, D, h, w)`` or ``(B, L, D)``.
        name: a name for the architecture; the hash of the weights is added to it.
        dim: the number of features D.
        size: the side to which images are resized (antialiased bicubic, short side, then centre crop);
            None gives the module the images as they are.
        mean: per-channel mean, for images in [0, 1].
        std: per-channel standard deviation, for images in [0, 1].
        channels: 3 repeats grey images to three channels; None leaves them.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str,
        dim: int,
        size: int | None = None,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
        channels: int | None = None,
    ) -> None:
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}")
        self.module = module.eval().requires_grad_(False)
        self.preprocess = Preprocess(
            resize=size,
            crop=None if size is None else (size, size),
            mean=tuple(mean),
            std=tuple(std),
            channels=channels,
            clip=False,
        )
        self._dim = dim
        settings = {"module": name, "preprocess": self.preprocess}
        self._name = version("module", settings, module.state_dict())

    @property
    def name(self) -> str:
        """The version of these features: settings and a hash of the weights."""
        return self._name

    @property
    def dim(self) -> int:
        """The number of features."""
        return self._dim

    def to(self, device: str | torch.device) -> Self:
        """Move the module."""
        self.module.to(device)
        return self

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, dim)`` of images ``(B, C, H, W)`` in [-1, 1]; differentiable."""
        out = self.module(self.preprocess(beside(images, self.module)))
        if out.ndim == 4:
            return out.mean(dim=(2, 3))
        return out.mean(dim=1) if out.ndim == 3 else out
