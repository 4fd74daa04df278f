"""The plain way to masks: k-means on the patches of all images."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from windvane.annotate.dense.dense_extractor import DenseExtractor, to_pixels
from windvane.annotate.dense.position_samples import drawn_vectors
from windvane.annotate.features.extractor import Images
from windvane.annotate.images.clusters import Clusters
from windvane.annotate.regions.masks.feature_lift import Lift
from windvane.annotate.regions.masks.segmenter import LearntSegmenter, checked_k, in_parts
from windvane.annotate.work import Work


class PatchClusters(LearntSegmenter):
    """Masks by k-means on dense features; cluster 0 is the most frequent, usually the background.

        id_p(x) = argmin_c | v_p - m_c |^2,   v = the features at pixel p,

    with the centres m fitted on patches drawn evenly from all images. The fast choice: no training.

    Args:
        extractor: dense features, fitted.
        k: the number of clusters, at most 255.
        seed: of the patches drawn and of the initial centres.
        vectors: about so many patches are drawn to fit the centres.
        normalise: cluster unit vectors; False where the length of the features says something.
        lift: b of :class:`.Lift`, which makes both direction and length count: v' = [v / s, b] before unit
            length is taken. None leaves v alone; needs ``normalise``.
        mode: "bilinear" interpolates the features to pixels before they are assigned, "nearest" gives a
            pixel the id of its patch.
    """

    kind = "patch-clusters"
    only_used = ("mode",)

    def __init__(
        self,
        extractor: DenseExtractor,
        k: int,
        *,
        seed: int = 0,
        vectors: int = 50_000,
        normalise: bool = False,
        lift: float | None = None,
        mode: Literal["bilinear", "nearest"] = "bilinear",
    ) -> None:
        if vectors < k:
            raise ValueError(f"k={k} clusters need at least as many patches, got vectors={vectors}")
        if mode not in ("bilinear", "nearest"):
            raise ValueError(f"mode must be 'bilinear' or 'nearest', got {mode!r}")
        if lift is not None and not normalise:
            raise ValueError(f"lift needs normalise=True, got {lift=}, {normalise=}")
        self.extractor, self.seed, self.vectors = extractor, seed, vectors
        self.normalise, self.mode, self.lift = normalise, mode, Lift(lift)
        self.clusters = Clusters(checked_k(k), seed=seed, normalise=normalise)

    @property
    def k(self) -> int:  # type: ignore[override]
        """The number of clusters."""
        return self.clusters.k

    def gathered(self, data: Images, work: Work) -> Tensor:
        """Patches drawn evenly from all images."""
        return drawn_vectors(self.extractor, data, self.vectors, work, seed=self.seed)

    def learn(self, gathered: Tensor, progress: bool) -> None:
        """Find the centres."""
        self.lift.fit(gathered.norm(dim=1))
        self.clusters.fit(self.lift(gathered))

    def __call__(self, images: Tensor) -> Tensor:
        """Ids uint8 ``(B, H, W)`` of images ``(B, C, H, W)`` in [-1, 1]."""
        with torch.no_grad():
            maps = self.extractor(images).float()
            return torch.cat([self._ids(part, images.shape) for part in in_parts(maps, images.shape)])

    def _ids(self, maps: Tensor, images: torch.Size) -> Tensor:
        shape = (images[-2], images[-1])
        if self.mode == "bilinear":
            maps = to_pixels(maps, self.extractor.grid, shape)
        vectors = self.lift(maps.movedim(1, -1).flatten(0, 2))
        ids = self.clusters.assign(vectors).reshape(len(maps), 1, *maps.shape[-2:])
        if self.mode == "nearest":
            ids = to_pixels(ids, self.extractor.grid, shape, mode="nearest")
        return ids[:, 0].to(torch.uint8)

    def options(self) -> dict[str, Any]:
        """The settings, without the features."""
        return {
            "k": self.k,
            "seed": self.seed,
            "vectors": self.vectors,
            "normalise": self.normalise,
            "lift": self.lift.b,
            "mode": self.mode,
        }

    def state(self) -> dict[str, Tensor]:
        """Centres ``(k, D)``, sizes ``(k,)`` and the scale of the lift."""
        return {"centres": self.clusters.centres, "sizes": self.clusters.sizes, "scale": self.lift.scale}

    def take(self, state: Mapping[str, Tensor]) -> None:
        """Put the centres of ``state`` in place.

        Raises:
            ValueError: centres that do not fit.
        """
        self.clusters.restored(state["centres"], state["sizes"])
        self.lift.scale = state["scale"]
