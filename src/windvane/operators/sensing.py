"""Compressed sensing: a random part of an orthonormal transform."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from windvane.operators.base import Operator
from windvane.randomness import generator

TRANSFORMS = ("dct", "hadamard")


def dct_matrix(size: int) -> Tensor:
    """The orthonormal DCT-II, float64 ``(size, size)``, rows being frequencies."""
    k, n = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(size, dtype=torch.float64)
    matrix = math.sqrt(2 / size) * torch.cos(math.pi * (n + 0.5) * k / size)
    matrix[0] /= math.sqrt(2)
    return matrix


def hadamard(x: Tensor) -> Tensor:
    """The orthonormal Walsh-Hadamard transform of the last dimension, a power of two; its own inverse."""
    size, half = x.shape[-1], 1
    flat = x.reshape(-1, size)
    while half < size:
        pairs = flat.reshape(len(flat), -1, 2, half)
        flat = torch.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], dim=2)
        flat = flat.reshape(-1, size)
        half *= 2
    return flat.reshape(x.shape) / math.sqrt(size)


class CompressedSensing(Operator):
    """y = S T x ``(B, m)``: the coefficients S of an orthonormal transform T, so that A^+ = A^T.

    Args:
        shape: of the data, without the batch.
        ratio: the share of coefficients that is measured, m = round(ratio n), at least 1.
        transform: ``"dct"``, the cosine transform along each of the last two dimensions (or the only one);
            ``"hadamard"``, the Walsh-Hadamard transform of all n values, n a power of two.
        seed: of the choice of coefficients.
    """

    def __init__(self, shape: Sequence[int], ratio: float, *, transform: str = "dct", seed: int = 0) -> None:
        if transform not in TRANSFORMS:
            raise ValueError(f"unknown transform {transform!r}; known: {', '.join(TRANSFORMS)}")
        if not 0 < ratio <= 1:
            raise ValueError(f"the ratio of measured coefficients must lie in (0, 1], got {ratio}")
        self.shape = tuple(int(n) for n in shape)
        size = math.prod(self.shape)
        if transform == "hadamard" and size & (size - 1):
            raise ValueError(f"hadamard needs a power of two values, shape {self.shape} has {size}")
        self.transform = transform
        order = torch.randperm(size, generator=generator(seed))
        self.chosen = order[: max(1, round(ratio * size))].sort().values
        self._matrices = [dct_matrix(n) for n in self.shape[-2:]] if transform == "dct" else []

    def _transformed(self, x: Tensor, *, inverse: bool) -> Tensor:
        if self.transform == "hadamard":
            return hadamard(x.flatten(1)).reshape(x.shape)
        matrices = [m.to(x).T if inverse else m.to(x) for m in self._matrices]
        x = x @ matrices[-1].T
        return matrices[0] @ x if len(matrices) == 2 else x

    def __call__(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"this operator measures data of shape {self.shape}, got {tuple(x.shape[1:])}")
        return self._transformed(x, inverse=False).flatten(1)[:, self.chosen.to(x.device)]

    def adjoint(self, y: Tensor) -> Tensor:
        if y.ndim != 2 or y.shape[1] != len(self.chosen):
            raise ValueError(f"measurements have shape (B, {len(self.chosen)}), got {tuple(y.shape)}")
        full = y.new_zeros(len(y), math.prod(self.shape))
        full = full.index_copy(1, self.chosen.to(y.device), y)
        return self._transformed(full.reshape(-1, *self.shape), inverse=True)

    def pinv(self, y: Tensor) -> Tensor:
        return self.adjoint(y)
