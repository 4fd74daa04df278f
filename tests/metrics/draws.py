"""Synthetic features with known laws."""

import torch
from torch import Tensor


def normal(n: int, d: int, seed: int, *, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    """(n, d) float64 rows of N(shift, scale² I)."""
    random = torch.Generator().manual_seed(seed)
    return shift + scale * torch.randn(n, d, generator=random, dtype=torch.float64)


def covariance(d: int, seed: int) -> Tensor:
    """A random positive definite (d, d) matrix with eigenvalues of order one."""
    root = normal(d, d, seed) / d**0.5
    return root @ root.T + 0.1 * torch.eye(d, dtype=torch.float64)


def rotation(d: int, seed: int) -> Tensor:
    """A random orthogonal (d, d) matrix."""
    return torch.linalg.qr(normal(d, d, seed))[0]
