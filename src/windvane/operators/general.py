"""Operators given by a matrix or by a function."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from windvane.operators.base import Operator
from windvane.process import expand


class Matrix(Operator):
    """y = A x for a matrix ``(m, n)`` on flattened data; A^+ from the singular values.

    Args:
        matrix: ``(m, n)``, n the number of values of one row of data.
        shape: of the data without the batch, with n values; default ``(n,)``.
        rtol: singular values up to rtol times the largest count as 0.
    """

    def __init__(
        self, matrix: Tensor | Sequence, shape: Sequence[int] | None = None, *, rtol: float = 1e-10
    ) -> None:
        values = torch.as_tensor(matrix, dtype=torch.float64).detach()
        if values.ndim != 2 or math.prod(shape or values.shape[1:]) != values.shape[1]:
            raise ValueError(
                f"a matrix (m, n) and a shape of n values are needed, got {tuple(values.shape)} and {shape}"
            )
        self.matrix = values
        self.inverse = torch.linalg.pinv(values, rtol=rtol)
        self.shape = tuple(shape or values.shape[1:])

    def __call__(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"this operator measures data of shape {self.shape}, got {tuple(x.shape[1:])}")
        return x.flatten(1) @ self.matrix.to(x).T

    def adjoint(self, y: Tensor) -> Tensor:
        return (y @ self.matrix.to(y)).reshape(-1, *self.shape)

    def pinv(self, y: Tensor) -> Tensor:
        return (y @ self.inverse.to(y).T).reshape(-1, *self.shape)


class FunctionOperator(Operator):
    """Any function of a batch, linear or not.

    Args:
        function: ``(B, *shape) -> (B, *measured)``, rows independent, differentiable.
        shape: of the data without the batch; needed for the adjoint of a linear function.
        linear: whether it is linear. Its adjoint is then found by automatic differentiation, and its
            pseudo-inverse by :func:`least_squares`, unless they are given. A function that is not linear
            can be measured and guided by, but has neither.
        adjoint, pinv: ``(B, *measured) -> (B, *shape)``.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        shape: Sequence[int] | None = None,
        *,
        linear: bool = True,
        adjoint: Callable[[Tensor], Tensor] | None = None,
        pinv: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if linear and adjoint is None and shape is None:
            raise ValueError("the adjoint of a linear function needs shape=(...), or give adjoint=")
        self.function = function
        self.shape = None if shape is None else tuple(shape)
        self.linear = linear
        self._adjoint, self._pinv = adjoint, pinv

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)

    def _require_linear(self, what: str) -> None:
        if not self.linear:
            raise ValueError(f"a function that is not linear has no {what}; guide by its measurement instead")

    def adjoint(self, y: Tensor) -> Tensor:
        if self._adjoint is not None:
            return self._adjoint(y)
        self._require_linear("adjoint")
        keep = torch.is_grad_enabled() and y.requires_grad
        with torch.enable_grad():
            x = y.new_zeros(len(y), *(self.shape or ())).requires_grad_(True)
            (out,) = torch.autograd.grad(self.function(x), x, y, create_graph=keep)
        return out

    def pinv(self, y: Tensor) -> Tensor:
        if self._pinv is not None:
            return self._pinv(y)
        self._require_linear("pseudo-inverse")
        return least_squares(self, y)


def least_squares(operator: Operator, y: Tensor, *, iterations: int = 200, rtol: float = 1e-10) -> Tensor:
    """A^+ y by conjugate gradients on A^T A x = A^T y from x = 0, each row by itself.

    Started at zero the iterates stay in the range of A^T, so that the limit is the shortest solution
    (Hestenes and Stiefel 1952; the variant known as CGLS). Stops when ||A^T (y - A x)|| of every row has
    fallen by ``rtol``, or after ``iterations``.
    """
    residual = y
    gradient = operator.adjoint(residual)
    x, direction = torch.zeros_like(gradient), gradient
    norm = _squared(gradient)
    goal = rtol**2 * norm
    for _ in range(iterations):
        if bool((norm <= goal).all()):
            break
        moved = operator(direction)
        going = norm > goal
        step = torch.where(going, norm / _squared(moved).clamp(min=torch.finfo(y.dtype).tiny), 0)
        x = x + expand(step, x) * direction
        residual = residual - expand(step, residual) * moved
        gradient = operator.adjoint(residual)
        new = torch.where(going, _squared(gradient), norm)
        turn = torch.where(going, new / norm.clamp(min=torch.finfo(y.dtype).tiny), 0)
        direction, norm = gradient + expand(turn, x) * direction, new
    return x


def _squared(x: Tensor) -> Tensor:
    return x.flatten(1).square().sum(1)
