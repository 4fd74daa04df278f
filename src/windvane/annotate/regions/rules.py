"""What finds boxes and masks, as a rule for one image at a time that can be saved and used on new images."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, Protocol, Self, get_args

import torch
from torch import Tensor

from windvane.annotate.dense.dense_extractor import DenseExtractor, to_pixels
from windvane.annotate.features.extractor import version
from windvane.annotate.regions.boxes.lost_algorithm import BYTES, Regions, lost
from windvane.annotate.regions.boxes.normalised_cut import normalised_cut

Method = Literal["lost", "ncut"]
#: Bytes that a method takes for each pair of patches.
_PAIR = {"lost": 8, "ncut": 40}


class RegionRule(Protocol):
    """A frozen map from images ``(B, C, H, W)`` to their regions, on the CPU.

    Boxes int64 ``(B, 4)`` in pixels, or ids uint8 ``(B, H, W)``. ``name`` is a version that changes with
    every setting and everything learnt; ``kind``, ``settings`` and ``state`` rebuild it on its ``extractor``.
    """

    kind: str

    @property
    def name(self) -> str: ...

    @property
    def extractor(self) -> DenseExtractor: ...

    def __call__(self, images: Tensor) -> Tensor: ...

    def settings(self) -> dict[str, Any]: ...

    def state(self) -> dict[str, Tensor]: ...


class ObjectRule:
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
    def name(self) -> str:
        """The version: settings, among them that of the features."""
        return version(self.kind, self.settings())

    @property
    def task(self) -> str:
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

    def to(self, device: str | torch.device) -> Self:
        """Move the features."""
        if hasattr(self.extractor, "to"):
            self.extractor.to(device)
        return self

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

    def settings(self) -> dict[str, Any]:
        """What rebuilds it, besides the extractor."""
        return {
            "extractor": self.extractor.name,
            "gives": self.gives,
            "method": self.method,
            "centre": self.centre,
            "patches": self.patches,
            "threshold": self.threshold,
        }

    def state(self) -> dict[str, Tensor]:
        """Nothing was learnt."""
        return {}

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], state: Mapping[str, Tensor], extractor: DenseExtractor
    ) -> Self:
        """What ``settings`` came from, on the same features.

        Raises:
            ValueError: features of another version.
        """
        if extractor.name != settings["extractor"]:
            raise ValueError(f"made with the features {settings['extractor']}, not with {extractor.name}")
        return cls(extractor, **{key: value for key, value in settings.items() if key != "extractor"})
