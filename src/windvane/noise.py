"""Laws of the noise n in x_t = alpha x0 + sigma n. A process owns its law.

Noise is drawn as standard normal rows, which a law may rescale by one factor for each sample. Under the
Gaussian law nothing is drawn beside the normal numbers and they are returned as they are.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from windvane.randomness import derive_seed, noise_for

_STREAM_FACTOR = (1 << 42) + 1


class NoiseLaw(ABC):
    """The law of one sample's noise: isotropic, a standard normal times an independent factor."""

    @abstractmethod
    def factors(self, n: int, *key: int) -> Tensor | None:
        """``n`` independent factors, float64 ``(n,)``, from a generator keyed by ``key``; None for 1."""

    @abstractmethod
    def log_density(self, square: Tensor, dim: int) -> Tensor:
        """log p(n) of noise in ``dim`` dimensions with squared norm ``square``, any shape."""

    def scaled(self, normal: Tensor, *key: int) -> Tensor:
        """Standard normal rows ``(B, *)`` turned into noise of this law."""
        return _times(normal, self.factors(len(normal), *key))

    def draw(
        self, seeds: Tensor | Sequence[int], stream: int, shape: Sequence[int], *, dtype: torch.dtype
    ) -> Tensor:
        """Noise ``(B, *shape)`` on the CPU; row i depends on (seeds[i], stream) alone."""
        normal = noise_for(seeds, stream, shape, dtype=dtype)
        values = seeds.tolist() if isinstance(seeds, Tensor) else list(seeds)
        found = [self.factors(1, seed, stream) for seed in values]
        factors = [factor for factor in found if factor is not None]
        return _times(normal, torch.cat(factors) if factors else None)


@dataclass(frozen=True)
class Gaussian(NoiseLaw):
    """Standard normal noise."""

    def factors(self, n: int, *key: int) -> Tensor | None:
        return None

    def draw(
        self, seeds: Tensor | Sequence[int], stream: int, shape: Sequence[int], *, dtype: torch.dtype
    ) -> Tensor:
        return noise_for(seeds, stream, shape, dtype=dtype)

    def log_density(self, square: Tensor, dim: int) -> Tensor:
        return -0.5 * (square + dim * math.log(2 * math.pi))


@dataclass(frozen=True)
class StudentT(NoiseLaw):
    """Multivariate Student-t noise: n = eps sqrt(dof / c), c ~ chi-square(dof), one c for each sample.

    p(n) is proportional to (1 + |n|^2 / dof)^(-(dim + dof) / 2). E|n|^2 / dim = dof / (dof - 2) for dof > 2,
    infinite otherwise; dof -> infinity is Gaussian.
    """

    dof: float

    def __post_init__(self) -> None:
        if not 0 < self.dof < math.inf:
            raise ValueError(f"Student-t noise needs a finite dof > 0, got {self.dof}")

    def factors(self, n: int, *key: int) -> Tensor | None:
        keyed = np.random.Generator(np.random.PCG64(derive_seed(_STREAM_FACTOR, *key)))
        chi_square = torch.from_numpy(keyed.chisquare(self.dof, size=n))
        return torch.sqrt(self.dof / chi_square)

    def log_density(self, square: Tensor, dim: int) -> Tensor:
        half, both = self.dof / 2, (self.dof + dim) / 2
        norm = math.lgamma(both) - math.lgamma(half) - dim / 2 * math.log(self.dof * math.pi)
        return norm - both * torch.log1p(square / self.dof)


def _times(normal: Tensor, factors: Tensor | None) -> Tensor:
    if factors is None:
        return normal
    return normal * factors.to(normal).reshape(-1, *([1] * (normal.ndim - 1)))
