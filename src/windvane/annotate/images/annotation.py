"""The annotation of a data set: an id for every image, and the frozen map that gives ids to new images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from windvane.annotate.annotated import Annotated
from windvane.annotate.features.extractor import FeatureExtractor, Images
from windvane.annotate.features.extractor_storage import (
    noted_extractor,
    read_noted,
    saves,
    write_extractor,
)
from windvane.annotate.images.clusters import Clusters, checked_ids
from windvane.annotate.images.id_draws import Source, draw_ids
from windvane.annotate.images.statistics import agreement, balance
from windvane.annotate.sealed_pair import FORMAT, checked_pair, read_pair
from windvane.conditions import Condition
from windvane.damage import Damaged
from windvane.randomness import seed_range

_BATCH = 256


class Annotation(Annotated):
    """Ids ``(n,)`` of the training images, and what they came from.

    ``annotation(images)`` gives ids to new images by the same features and the same centres.

    Args:
        ids: ``(n,)`` in 0..k-1.
        k: the number of ids.
        fingerprint: the content hash of the images.
        source: "clusters", or for given ids what they are ("labels", "random ids", ...).
        clusters: the fitted clusters; None for given ids.
        extractor: the features the clusters were fitted on.
        extractor_name: its version; taken from ``extractor`` by default.
        flip: features are averaged with those of the mirror image.
        distances: squared distance of each image to its centre ``(n,)``.
        shape: ``(C, H, W)`` of the images; None where it is not known.

    Raises:
        ValueError: ids out of range, or parts that do not fit each other.
    """

    kind = "ids"
    files = ("annotation.json", "vector.safetensors")
    ids: Tensor
    k: int

    def __init__(
        self,
        ids: Tensor,
        k: int,
        *,
        fingerprint: str,
        source: str = "clusters",
        clusters: Clusters | None = None,
        extractor: FeatureExtractor | None = None,
        extractor_name: str | None = None,
        flip: bool = False,
        distances: Tensor | None = None,
        shape: Sequence[int] | None = None,
    ) -> None:
        self.ids = checked_ids(ids, k)
        if clusters is not None and clusters.k != k:
            raise ValueError(f"k={k}, but the clusters have k={clusters.k}")
        if distances is not None and distances.shape != ids.shape:
            raise ValueError(f"{len(ids)} ids, but distances of shape {tuple(distances.shape)}")
        self.k, self.fingerprint, self.source = k, fingerprint, source
        self.clusters, self.flip, self.distances = clusters, flip, distances
        self.shape = None if shape is None else tuple(int(side) for side in shape)
        self.extractor = extractor
        self.extractor_name = extractor.name if extractor_name is None and extractor else extractor_name
        self.sizes = torch.bincount(self.ids, minlength=k)

    @classmethod
    def given(cls, ids: Tensor, data: Images, *, k: int | None = None, source: str = "labels") -> Self:
        """An annotation of ids that are known already: true labels, or a control.

        Raises:
            ValueError: another number of ids than images, or ids that are negative.
        """
        if len(ids) != len(data):
            raise ValueError(f"{len(ids)} ids for {len(data)} images")
        k = int(ids.max()) + 1 if k is None else k
        return cls(ids, k, fingerprint=data.fingerprint, source=source, shape=data.shape)

    @classmethod
    def load(
        cls, path: str | Path, *, data: Images | None = None, extractor: FeatureExtractor | None = None
    ) -> Self:
        """Load a folder; one call of it then annotates new images.

        Args:
            path: the folder.
            data: the images it must belong to; None does not ask.
            extractor: the features, where they are not saved with it (a denoiser's, a module's); a hub
                encoder is loaded again on its own when it is needed and none is given.

        Raises:
            ValueError: files missing or damaged, ids out of range, another data set or images of another
                size, another extractor version.
        """
        folder, described, tensors = read_pair(path, cls.files, "annotation")
        file, tensors_file = (folder / name for name in cls.files)
        with checked_pair(described, tensors, file, tensors_file):
            lost = {"ids", "sizes"} - set(tensors)
            if lost:
                raise ValueError(f"it has no {', '.join(sorted(lost))}")
            if len(tensors["ids"]) != described["n"]:
                raise ValueError(f"it says {described['n']} images and has {len(tensors['ids'])} ids")
            cls(tensors["ids"], described["signals"]["vector"]["k"], fingerprint=described["data"])
        try:
            annotation = cls._built(described, tensors)
        except (KeyError, TypeError, ValueError) as error:
            raise Damaged(file, str(error)) from error
        if not torch.equal(annotation.sizes, tensors["sizes"]):
            raise Damaged(tensors_file, "its sizes are not those of its ids")
        if data is not None:
            annotation.check(data)
        if annotation.clusters is not None:
            noted = described["signals"]["vector"]["extractor"]
            annotation.extractor = read_noted(folder, noted, extractor)
        return annotation

    @classmethod
    def _built(cls, described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        vector, clusters = described["signals"]["vector"], None
        if "clusters" in vector:
            clusters = Clusters(**vector["clusters"]).restored(tensors["centres"], tensors["sizes"])
        return cls(
            tensors["ids"],
            vector["k"],
            fingerprint=described["data"],
            source=vector["source"],
            clusters=clusters,
            extractor_name=vector.get("extractor", {}).get("name"),
            flip=vector.get("flip", False),
            distances=tensors.get("distances"),
            shape=described.get("image"),
        )

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Description and tensors, from which :meth:`load` builds it again."""
        tensors = {"ids": self.ids, "sizes": self.sizes}
        if self.distances is not None:
            tensors["distances"] = self.distances.float()
        vector: dict[str, Any] = {"source": self.source, "k": self.k}
        if self.clusters is not None:
            tensors["centres"] = self.clusters.centres
            vector["clusters"] = self.clusters.settings()
            vector["extractor"] = noted_extractor(self.extractor, self.extractor_name)
            vector["flip"] = self.flip
        described = {
            "format": FORMAT,
            "n": len(self),
            "data": self.fingerprint,
            "image": None if self.shape is None else list(self.shape),
            "signals": {"vector": vector},
        }
        return described, tensors

    def write_maker(self, folder: Path) -> None:
        """Write the features, where they were learnt by the library."""
        if self.clusters is not None and saves(self.extractor):
            write_extractor(self.extractor, folder)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        """The length of the one-hot condition: k."""
        return self.k

    def __call__(self, images: Tensor) -> Tensor:
        """Ids int64 ``(B,)`` of new images ``(B, C, H, W)`` in [-1, 1].

        Raises:
            ValueError: ids that were given and not clustered, or features that are not at hand.
        """
        if self.clusters is None:
            raise ValueError(f"these ids were given ({self.source}); there is no rule for new images")
        if self.extractor is None:
            raise ValueError(
                f"the features of this annotation are not saved with it; load it with extractor=..., "
                f"the one of version {self.extractor_name}"
            )
        found = []
        with torch.no_grad():
            for part in images.split(_BATCH):
                features = self.extractor(part)
                if self.flip:
                    features = (features + self.extractor(part.flip(-1))) / 2
                found.append(self.clusters.assign(features))
        return torch.cat(found) if found else torch.empty(0, dtype=torch.int64)

    def take(self, rows: Tensor) -> Self:
        """An annotation of ``len(rows)`` images, the i-th with the id of image ``rows[i]``."""
        rows = checked_ids(rows, len(self))
        return type(self)(
            self.ids[rows],
            self.k,
            fingerprint=self.fingerprint,
            source=self.source,
            clusters=self.clusters,
            extractor=self.extractor,
            extractor_name=self.extractor_name,
            flip=self.flip,
            distances=None if self.distances is None else self.distances[rows],
            shape=self.shape,
        )

    def draw(self, n: int, seed: int = 0, source: Source = "empirical") -> Tensor:
        """Ids int64 ``(n,)`` for new samples; the i-th depends on ``seed + i`` alone.

        Args:
            n: how many.
            seed: of the first.
            source: "empirical" (as often as in the training images) or "uniform".
        """
        return draw_ids(self.sizes, seed_range(seed, n), source)

    def condition(self, ids: Tensor | None = None) -> Condition:
        """Ids ``(B,)`` as a condition; by default those of all training images, in their order."""
        return Condition.vector(self.ids if ids is None else checked_ids(ids, self.k))

    def drawn(self, seeds: Sequence[int]) -> Condition:
        """Conditions as often as in the training images, the i-th by ``seeds[i]`` alone."""
        return self.condition(draw_ids(self.sizes, list(seeds)))

    def conditions(self) -> Condition:
        """The ids of all images, for a training."""
        return self.condition()

    @property
    def counts(self) -> list[int]:
        """Images per id."""
        return self.sizes.tolist()

    @property
    def title(self) -> str:
        """What its ids are called."""
        return "Labels" if self.source == "labels" else "Clusters"

    @property
    def summary(self) -> str:
        """What it is, in a few words."""
        if self.source == "labels":
            return f"{self.k} labels"
        return f"{self.k} clusters that {(self.extractor_name or 'features').split('(')[0]} features found"

    def members(self, cluster: int, limit: int | None = None) -> Tensor:
        """Indices of the training images of a cluster, those nearest to its centre first."""
        if not 0 <= cluster < self.k:
            raise ValueError(f"cluster must lie in 0..{self.k - 1}, got {cluster}")
        rows = (self.ids == cluster).nonzero()[:, 0]
        if self.distances is not None:
            rows = rows[self.distances[rows].argsort(stable=True)]
        return rows[:limit]

    def check(self, data: Images) -> None:
        """Refuse data that this annotation was not made from.

        Raises:
            ValueError: images of another size, another number of them, or other images.
        """
        if self.shape is not None and tuple(data.shape) != self.shape:
            raise ValueError(
                f"the annotation was made from images of shape {self.shape}, the data have "
                f"{tuple(data.shape)}"
            )
        if len(data) != len(self):
            raise ValueError(f"the annotation has {len(self)} images, the data {len(data)}")
        if data.fingerprint != self.fingerprint:
            raise ValueError(
                f"the annotation was made from other images (fingerprint {self.fingerprint[:12]}, the data "
                f"have {data.fingerprint[:12]}); annotate again"
            )

    def report(self, labels: Tensor | None = None) -> dict[str, Any]:
        """What it is, the balance of its ids, and their agreement with labels where there are any."""
        told: dict[str, Any] = {
            "source": self.source,
            "extractor": self.extractor_name,
            "k": self.k,
            "n": len(self),
            "balance": balance(self.ids, self.k),
        }
        if self.clusters is not None:
            told["clusters"] = self.clusters.settings()
        if labels is not None and bool((labels >= 0).any()):
            told["agreement"] = agreement(self.ids, labels)
        return told
