"""Mean and covariance of features as a stream."""

from dataclasses import dataclass

import torch
from torch import Tensor

from windvane.metrics.features import (
    Extractor,
    Images,
    checked_features,
    extractor_name,
    iterate_images,
)


@dataclass(frozen=True)
class GaussianStatistics:
    """Count, mean and scatter of rows seen so far, in float64: memory (D, D), whatever the number of rows.

    ``scatter`` is Σ (x - mean)(x - mean)ᵀ, updated by Chan, Golub and LeVeque's pairwise formula (1983), so
    that features far from the origin lose no digits. `update` and `merge` return new objects; merging in
    any order gives the same statistics to rounding.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def empty(cls, dimension: int) -> "GaussianStatistics":
        """Statistics of no rows."""
        zeros = torch.zeros(dimension, dtype=torch.float64)
        return cls(0, zeros, torch.zeros(dimension, dimension, dtype=torch.float64))

    @classmethod
    def of(cls, features: Tensor) -> "GaussianStatistics":
        """Statistics of ``features`` (n, D)."""
        rows = checked_features(features).detach().to("cpu", torch.float64)
        if len(rows) == 0:
            return cls.empty(rows.shape[1])
        mean = rows.mean(0)
        centred = rows - mean
        return cls(len(rows), mean, centred.T @ centred)

    @property
    def dimension(self) -> int:
        """Number of features D."""
        return len(self.mean)

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance (D, D)."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least two rows, got {self.count}")
        return self.scatter / (self.count - 1)

    def update(self, features: Tensor) -> "GaussianStatistics":
        """Statistics including the rows of ``features`` (n, D)."""
        return self.merge(GaussianStatistics.of(features))

    def merge(self, other: "GaussianStatistics") -> "GaussianStatistics":
        """Statistics of both sets of rows together."""
        if self.dimension != other.dimension:
            raise ValueError(f"cannot merge {self.dimension} features with {other.dimension}")
        count = self.count + other.count
        if count == 0:
            return self
        gap = other.mean - self.mean
        mean = self.mean + gap * (other.count / count)
        scatter = self.scatter + other.scatter + torch.outer(gap, gap) * (self.count * other.count / count)
        return GaussianStatistics(count, mean, scatter)

    def merge_processes(self) -> "GaussianStatistics":
        """Statistics over all processes of the default group; every process gets the same.

        Without an initialised group of several processes this is the object itself.
        """
        distributed = torch.distributed
        if not (distributed.is_available() and distributed.is_initialized()):
            return self
        size = distributed.get_world_size()
        if size == 1:
            return self
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        count = torch.tensor([self.count], dtype=torch.float64)
        packed = torch.cat([count, self.mean, self.scatter.flatten()]).to(device)
        gathered = [torch.empty_like(packed) for _ in range(size)]
        distributed.all_gather(gathered, packed)
        total = GaussianStatistics.empty(self.dimension)
        for row in gathered:
            cpu, d = row.cpu(), self.dimension
            total = total.merge(
                GaussianStatistics(int(cpu[0].item()), cpu[1 : d + 1], cpu[d + 1 :].reshape(d, d))
            )
        return total


def image_statistics(
    images: Images,
    extractor: Extractor,
    *,
    batch_size: int = 256,
    clip: bool = True,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> GaussianStatistics:
    """Statistics of the features of all images, keeping none of them.

    In several processes give each its own part of the images and call `GaussianStatistics.merge_processes`.
    """
    name = extractor_name(extractor)
    total: GaussianStatistics | None = None
    with torch.no_grad():
        for batch in iterate_images(
            images,
            batch_size=batch_size,
            clip=clip,
            device=device,
            description=f"features {name}",
            progress=progress,
        ):
            part = GaussianStatistics.of(checked_features(extractor(batch), len(batch), name))
            total = part if total is None else total.merge(part)
    assert total is not None  # iterate_images refuses empty sets
    return total
