"""Maps inside the network of another extractor."""

from typing import Any, Self

import torch

from windvane.annotate.patch_grid import PatchGrid


class InnerMaps:
    """What such maps share: one cell for every position, and a network that is the other extractor's.

    Attributes:
        features: the other extractor.
    """

    features: Any
    _dim: int
    _stride: int

    @property
    def dim(self) -> int:
        """Channels of the maps."""
        return self._dim

    @property
    def grid(self) -> PatchGrid:
        """One cell for every position."""
        return PatchGrid(self._stride, self._stride)

    def to(self, device: str | torch.device) -> Self:
        """Move the network, the other extractor's own."""
        self.features.to(device)
        return self
