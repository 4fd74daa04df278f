"""The plain way to masks: k-means on the patches of all images."""

from collections.abc import Mapping
from typing import Any, Literal, Self

import torch
from torch import Tensor

from windvane.annotate.clusters import Clusters
from windvane.annotate.dense.base import DenseExtractor, sample_vectors, to_pixels
from windvane.annotate.features.base import Images, version
from windvane.annotate.masks.segmenter import checked_k

#: torch's quantile takes at most 16 million values.
_QUANTILE = 1 << 24


class PatchClusters:
    """Masks by k-means on dense features; cluster 0 is the most frequent, usually the background.

        id_p(x) = argmin_c | v_p - m_c |^2,   v = the features at pixel p,

    with the centres m fitted on patches drawn evenly from all images. The fast choice: no training.

    Args:
        extractor: dense features, fitted.
        k: the number of clusters, at most 255.
        seed: of the patches drawn and of the initial centres.
        vectors: about so many patches are drawn to fit the centres.
        normalise: cluster unit vectors; False where the length of the features says something.
        lift: b of v' = [v / s, b], with s the 95th percentile of |v|, before unit length is taken; then both
            direction and length count, and long vectors do not outweigh short ones. None leaves v alone;
            needs ``normalise``.
        mode: "bilinear" interpolates the features to pixels before they are assigned, "nearest" gives a
            pixel the id of its patch.
    """

    kind = "patch-clusters"

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
        if lift is not None and (lift <= 0 or not normalise):
            raise ValueError(f"lift must be positive and needs normalise=True, got {lift=}, {normalise=}")
        self.extractor, self.seed, self.vectors = extractor, seed, vectors
        self.normalise, self.lift, self.mode = normalise, lift, mode
        self._scale = torch.ones(())
        self.clusters = Clusters(checked_k(k), seed=seed, normalise=normalise)

    @property
    def k(self) -> int:
        """The number of clusters."""
        return self.clusters.k

    @property
    def name(self) -> str:
        """The version: settings, features and a hash of the centres."""
        return version(self.kind, self.settings(), self.state())

    def fit(self, data: Images, *, batch_size: int = 64, progress: bool = True) -> Self:
        """Find the centres on the patches of a data set.

        Raises:
            ValueError: fewer different patches than clusters.
        """
        drawn = sample_vectors(
            self.extractor, data, self.vectors, seed=self.seed, batch_size=batch_size, progress=progress
        )
        if self.lift is not None:
            scale = torch.quantile(drawn.norm(dim=1)[:_QUANTILE], 0.95)
            self._scale = scale if scale > 0 else torch.ones(())
        self.clusters.fit(self._lifted(drawn))
        return self

    def _lifted(self, vectors: Tensor) -> Tensor:
        if self.lift is None:
            return vectors
        constant = torch.full((len(vectors), 1), self.lift).to(vectors)
        return torch.cat([vectors / self._scale.to(vectors), constant], dim=1)

    def __call__(self, images: Tensor) -> Tensor:
        """Ids uint8 ``(B, H, W)`` of images ``(B, C, H, W)`` in [-1, 1]."""
        shape = (images.shape[-2], images.shape[-1])
        with torch.no_grad():
            maps = self.extractor(images).float()
            if self.mode == "bilinear":
                maps = to_pixels(maps, self.extractor.grid, shape)
        vectors = self._lifted(maps.movedim(1, -1).flatten(0, 2))
        ids = self.clusters.assign(vectors).reshape(len(maps), 1, *maps.shape[-2:])
        if self.mode == "nearest":
            ids = to_pixels(ids, self.extractor.grid, shape, mode="nearest")
        return ids[:, 0].to(torch.uint8)

    def settings(self) -> dict[str, Any]:
        """What rebuilds it, besides the extractor and its state."""
        return {
            "extractor": self.extractor.name,
            "k": self.k,
            "seed": self.seed,
            "vectors": self.vectors,
            "normalise": self.normalise,
            "lift": self.lift,
            "mode": self.mode,
        }

    def state(self) -> dict[str, Tensor]:
        """Centres ``(k, D)``, sizes ``(k,)`` and the scale of the lift."""
        return {"centres": self.clusters.centres, "sizes": self.clusters.sizes, "scale": self._scale}

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], state: Mapping[str, Tensor], extractor: DenseExtractor
    ) -> Self:
        """What ``settings`` and ``state`` came from, on the same features.

        Raises:
            ValueError: features of another version, or centres that do not fit.
        """
        named = {key: value for key, value in settings.items() if key != "extractor"}
        made = cls(extractor, named.pop("k"), **named)
        if extractor.name != settings["extractor"]:
            raise ValueError(f"made with the features {settings['extractor']}, not with {extractor.name}")
        made.clusters.restored(state["centres"], state["sizes"])
        made._scale = state["scale"]
        return made
