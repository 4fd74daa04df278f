"""Random views of images for contrastive learning, in tensor operations on whole batches."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augment:
    """One random view an image: crop and rotation, mirror, colours, noise.

    Args:
        area: smallest and largest share of the image's area in the crop, which is resized to full size.
        ratio: the crop's aspect ratio lies between 1 / ratio and ratio.
        rotate: largest rotation in degrees.
        flip: mirror left-right half of the time; leave it off where mirror images mean something else.
        colour: largest relative change of brightness, contrast and, for three channels, saturation.
        grey: probability of dropping the colour of a three-channel image.
        noise: largest standard deviation of added Gaussian noise (images span [-1, 1]).
    """

    area: tuple[float, float] = (0.3, 1.0)
    ratio: float = 4 / 3
    rotate: float = 0.0
    flip: bool = False
    colour: float = 0.4
    grey: float = 0.2
    noise: float = 0.1

    def __post_init__(self) -> None:
        low, high = self.area
        if not 0 < low <= high <= 1 or self.ratio < 1:
            raise ValueError(f"need 0 < area <= 1 and ratio >= 1, got area={self.area}, ratio={self.ratio}")
        if min(self.rotate, self.colour, self.grey, self.noise) < 0 or max(self.colour, self.grey) > 1:
            raise ValueError(f"strengths must not be negative, colour and grey at most 1; got {self}")

    @classmethod
    def suited_to(cls, shape: Sequence[int], *, flip: bool = False) -> Self:
        """Settings for images of ``shape`` ``(C, H, W)``: gentler crops for tiny images."""
        if max(shape[-2:]) < 16:
            return cls(area=(0.5, 1.0), rotate=15.0, flip=flip, colour=0.3, noise=0.4)
        return cls(flip=flip)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Views ``(B, C, H, W)`` of images ``(B, C, H, W)``; the numbers come from the (CPU) generator."""
        rows = len(images)

        def uniform(low: float, high: float) -> Tensor:
            drawn = torch.rand(rows, generator=generator) * (high - low) + low
            return drawn.to(images.device)

        views = self._cropped(
            images, uniform(0, 1), uniform(-1, 1), uniform(-1, 1), uniform(-1, 1), uniform(-1, 1)
        )
        if self.flip:
            mirrored = (uniform(0, 1) < 0.5).view(-1, 1, 1, 1)
            views = torch.where(mirrored, views.flip(-1), views)
        if self.colour > 0:
            views = self._recoloured(views, [1 + uniform(-self.colour, self.colour) for _ in range(3)])
        if self.grey > 0 and views.shape[1] == 3:
            dropped = (uniform(0, 1) < self.grey).view(-1, 1, 1, 1)
            views = torch.where(dropped, views.mean(dim=1, keepdim=True), views)
        if self.noise > 0:
            level = uniform(0, self.noise).view(-1, 1, 1, 1)
            views = views + level * torch.randn(images.shape, generator=generator).to(images)
        return views

    def _cropped(
        self, images: Tensor, size: Tensor, shape: Tensor, turn: Tensor, dx: Tensor, dy: Tensor
    ) -> Tensor:
        low, high = self.area
        side = torch.sqrt(low + (high - low) * size)
        stretch = torch.exp(shape * math.log(self.ratio) / 2)
        width, height = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)
        angle = turn * math.radians(self.rotate)
        cosine, sine = torch.cos(angle), torch.sin(angle)
        # The crop's centre may be anywhere that keeps the unrotated crop inside the image.
        first = torch.stack([width * cosine, -height * sine, dx * (1 - width)], dim=1)
        second = torch.stack([width * sine, height * cosine, dy * (1 - height)], dim=1)
        grid = F.affine_grid(torch.stack([first, second], dim=1), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid.to(images), padding_mode="border", align_corners=False)

    def _recoloured(self, views: Tensor, factors: list[Tensor]) -> Tensor:
        brightness, contrast, saturation = (f.view(-1, 1, 1, 1) for f in factors)
        views = (views + 1) * brightness - 1
        mean = views.mean(dim=(1, 2, 3), keepdim=True)
        views = mean + contrast * (views - mean)
        if views.shape[1] == 3:
            luma = views.mean(dim=1, keepdim=True)
            views = luma + saturation * (views - luma)
        return views
