"""Dense-CRF refinement of masks through a library, where one is installed."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class DenseCRF:
    """Fully connected CRF (Kraehenbuehl and Koltun 2011, arXiv 1210.5644) by the library pydensecrf.

    Pairwise terms: ``smooth_weight`` exp(-|p_i - p_j|^2 / 2 smooth_sd^2) + ``colour_weight``
    exp(-|p_i - p_j|^2 / 2 place_sd^2 - |I_i - I_j|^2 / 2 colour_sd^2), positions p in pixels, colours I in
    0..255. The defaults are those of STEGO.

    Args:
        iterations: of mean-field inference.
    """

    iterations: int = 10
    smooth_weight: float = 3.0
    smooth_sd: float = 1.0
    colour_weight: float = 4.0
    place_sd: float = 67.0
    colour_sd: float = 3.0

    def check(self) -> Self:
        """This CRF, or the reason why it cannot work here, before any work is done.

        Raises:
            ValueError: the library is not installed.
        """
        self._library()
        return self

    @staticmethod
    def _library() -> Any:
        try:
            from pydensecrf import densecrf
        except ImportError as error:
            raise ValueError(
                "CRF refinement needs the library pydensecrf (pip install pydensecrf2); without it use "
                "crf=None"
            ) from error
        return densecrf

    def __call__(self, images: Tensor, log_probabilities: Tensor) -> Tensor:
        """Refined probabilities ``(B, k, H, W)`` of images ``(B, 1 or 3, H, W)`` in [-1, 1].

        Raises:
            ValueError: the library is not installed, or images with another number of channels.
        """
        densecrf = self._library()
        if images.shape[1] not in (1, 3):
            raise ValueError(f"CRF refinement needs images with 1 or 3 channels, got {images.shape[1]}")
        pixels = ((images.expand(-1, 3, -1, -1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        k, (height, width) = log_probabilities.shape[1], log_probabilities.shape[-2:]
        refined = []
        for image, logits in zip(pixels.cpu(), log_probabilities.detach().cpu()):
            crf = densecrf.DenseCRF2D(width, height, k)
            crf.setUnaryEnergy((-logits.float()).flatten(1).contiguous().numpy())
            crf.addPairwiseGaussian(sxy=self.smooth_sd, compat=self.smooth_weight)
            crf.addPairwiseBilateral(
                sxy=self.place_sd,
                srgb=self.colour_sd,
                rgbim=image.movedim(0, -1).contiguous().numpy(),
                compat=self.colour_weight,
            )
            # The library gives a matrix of its own that NumPy can read and torch cannot.
            found = torch.from_numpy(np.array(crf.inference(self.iterations), dtype=np.float32))
            refined.append(found.reshape(k, height, width))
        return torch.stack(refined)
