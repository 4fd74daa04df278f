"""Super-resolution's usual measurement: bicubic, anti-aliased reduction."""

from collections.abc import Sequence

import torch
from torch import Tensor

from windvane.operators.base import Operator, require_images


class Bicubic(Operator):
    """y = R x C^T per channel: height and width reduced ``factor`` times by a widened cubic kernel.

    Keys' kernel (1981) with a = -1/2, stretched by ``factor`` so that it does not alias; weights outside the
    image are left out and the others scaled to sum 1. The reduction is separable, so A^T y = R^T y C and
    A^+ y = R^+ y C^{+T} are exact. For blocks whose inverse repeats pixels see
    :class:`~windvane.operators.BlockMean`.

    Args:
        size: (height, width) of the images, multiples of ``factor``.
    """

    def __init__(self, size: Sequence[int], factor: int) -> None:
        height, width = (int(n) for n in size)
        if factor < 1 or height % factor or width % factor or min(height, width) < 1:
            raise ValueError(f"images of {height} x {width} pixels do not reduce {factor} times")
        self.size, self.factor = (height, width), int(factor)
        self.rows, self.columns = _reduction(height, self.factor), _reduction(width, self.factor)
        self._inverse = torch.linalg.pinv(self.rows), torch.linalg.pinv(self.columns)

    def _small(self, y: Tensor) -> None:
        require_images(y, "Bicubic")
        small = tuple(n // self.factor for n in self.size)
        if tuple(y.shape[-2:]) != small:
            raise ValueError(f"measurements have {small[0]} x {small[1]} pixels, got {tuple(y.shape)}")

    def __call__(self, x: Tensor) -> Tensor:
        require_images(x, "Bicubic")
        if tuple(x.shape[-2:]) != self.size:
            raise ValueError(f"this operator measures {self.size[0]} x {self.size[1]}, got {tuple(x.shape)}")
        return self.rows.to(x) @ x @ self.columns.to(x).T

    def adjoint(self, y: Tensor) -> Tensor:
        self._small(y)
        return self.rows.to(y).T @ y @ self.columns.to(y)

    def pinv(self, y: Tensor) -> Tensor:
        self._small(y)
        up, right = self._inverse
        return up.to(y) @ y @ right.to(y).T


def _reduction(n: int, factor: int) -> Tensor:
    """The matrix ``(n / factor, n)`` of one direction, float64."""
    centres = (torch.arange(n // factor, dtype=torch.float64) + 0.5) * factor - 0.5
    distance = (torch.arange(n, dtype=torch.float64) - centres[:, None]).abs() / factor
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = torch.where(distance <= 1, near, torch.where(distance < 2, far, 0))
    return weights / weights.sum(1, keepdim=True)
