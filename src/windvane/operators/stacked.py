"""Several measurements of one sample, as one operator."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from windvane.operators.base import Operator
from windvane.operators.general import least_squares


class Stacked(Operator):
    """y = (A_1 x, ..., A_n x), each flattened, one after the other: ``(B, m_1 + ... + m_n)``.

    A^T y = sum_k A_k^T y_k. A^+ y is the least-squares solution of all measurements together, by conjugate
    gradients (:func:`~windvane.operators.least_squares`, in float64), so that conditions which speak of the
    same pixels agree on them; projecting on one after the other would not.

    Args:
        operators: linear ones.
        shape: of the data without the batch.
    """

    def __init__(self, operators: Sequence[Operator], shape: Sequence[int]) -> None:
        if not operators:
            raise ValueError("stacked measurements need at least one operator, got none")
        crooked = [type(operator).__name__ for operator in operators if not operator.linear]
        if crooked:
            raise ValueError(f"stacked measurements need linear operators; these are not: {crooked}")
        self.operators, self.shape = tuple(operators), tuple(shape)
        probe = torch.zeros(1, *self.shape)
        self.measured = [tuple(operator(probe).shape[1:]) for operator in self.operators]
        self.sizes = [math.prod(shape) for shape in self.measured]

    def __call__(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"this operator measures data of shape {self.shape}, got {tuple(x.shape[1:])}")
        return torch.cat([operator(x).flatten(1) for operator in self.operators], dim=1)

    def parts(self, y: Tensor) -> list[Tensor]:
        """Each operator's own measurement, in its own shape."""
        if y.ndim != 2 or y.shape[1] != sum(self.sizes):
            raise ValueError(f"measurements have shape (B, {sum(self.sizes)}), got {tuple(y.shape)}")
        pieces = y.split(self.sizes, dim=1)
        return [piece.reshape(-1, *shape) for piece, shape in zip(pieces, self.measured)]

    def adjoint(self, y: Tensor) -> Tensor:
        first, *others = (operator.adjoint(part) for operator, part in zip(self.operators, self.parts(y)))
        return sum(others, start=first)

    def pinv(self, y: Tensor) -> Tensor:
        return least_squares(self, y.double()).to(y)
