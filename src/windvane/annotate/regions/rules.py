"""The one object of an image, found by LOST or the normalised cut."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from windvane.annotate.dense.dense_extractor import DenseExtractor, to_pixels
from windvane.annotate.regions.boxes.lost_algorithm import BYTES, Regions, lost
from windvane.annotate.regions.boxes.normalised_cut import normalised_cut
from windvane.annotate.regions.region_rule import RegionRule
from windvane.arguments import attributes

Method = Literal["lost", "ncut"]
#: Bytes that a method takes for each pair of patches.
_PAIR = {"lost": 8, "ncut": 40}


class ObjectRule(RegionRule):
    """The one object of an image, by LOST or the normalised cut on dense features: its box, or its patches.

    Args:
        extractor: dense features, fitted.
        gives: "box", in pixels, or "mask", 1 for the object and 0 for the background.
        method: "lost" (seed expansion) or "ncut" (normalised cut).
        centre: subtract each image's mean feature first; the published methods, on keys of DINO, do not.
        patches: how many patches may vote in LOST.
        threshold: cosine above which the normalised cut joins two patches.

    Raises:
        ValueError: an unknown method, or numbers out of range.
    """

    kind = "object"

    def __init__(
        self,
        extractor: DenseExtractor,
        *,
        gives: Literal["box", "mask"] = "box",
        method: Method = "lost",
        centre: bool = True,
        patches: int = 100,
        threshold: float = 0.2,
    ) -> None:
        if method not in get_args(Method):
            raise ValueError(f"unknown method {method!r}; known: {', '.join(get_args(Method))}")
        if gives not in ("box", "mask"):
            raise ValueError(f"a rule gives 'box' or 'mask', got {gives!r}")
        if patches < 1:
            raise ValueError(f"patches must be at least 1, got {patches}")
        self.extractor, self.gives, self.method = extractor, gives, method
        self.centre, self.patches, self.threshold = centre, patches, threshold

    @property
    def task(self) -> str:  # type: ignore[override]
        """What a bar is about."""
        return "boxes" if self.gives == "box" else "objects"

    def noted(self) -> dict[str, Any]:
        """The settings that have a part in the method."""
        if self.method == "lost":
            return {"centre": self.centre, "patches": self.patches}
        return {"centre": self.centre, "threshold": self.threshold}

    def feature(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what an image of ``shape`` becomes."""
        return (4,) if self.gives == "box" else (shape[-2], shape[-1])

    def __call__(self, images: Tensor) -> Tensor:
        """Boxes int64 ``(B, 4)``, or masks uint8 ``(B, H, W)``, of images ``(B, C, H, W)`` in [-1, 1]."""
        size, grid = (images.shape[-2], images.shape[-1]), self.extractor.grid
        with torch.no_grad():
            found = self._regions(self.extractor(images).float())
            if self.gives == "box":
                return grid.to_pixels(found.boxes, size).cpu()
            return to_pixels(found.masks[:, None], grid, size, mode="nearest")[:, 0].to("cpu", torch.uint8)

    def _regions(self, maps: Tensor) -> Regions:
        """What is found on maps, so many images at a time that the pairs of patches fit into half a GB."""
        find: Callable[[Tensor], Regions] = (
            partial(lost, patches=self.patches, centre=self.centre)
            if self.method == "lost"
            else partial(normalised_cut, threshold=self.threshold, centre=self.centre)
        )
        pairs = (maps.shape[2] * maps.shape[3]) ** 2
        parts = [find(part) for part in maps.split(max(1, BYTES // (_PAIR[self.method] * pairs)))]
        return Regions(*(torch.cat(values) for values in zip(*parts)))

    def options(self) -> dict[str, Any]:
        """The settings, without the features."""
        return attributes(self, "gives", "method", "centre", "patches", "threshold")
