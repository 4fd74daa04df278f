"""What a measurement operator is."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from windvane.arguments import shown
from windvane.denoiser import name_of


class Operator(ABC):
    """A measurement y = A x, row by row: ``x`` ``(B, *shape)``, ``y`` ``(B, *measured)``.

    Linear operators have an adjoint, <A x, y> = <x, A^T y>, and a pseudo-inverse with A A^+ A = A. Their
    constants are moved to the device and dtype of what they are applied to, at use.
    """

    linear: bool = True

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """A x."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y."""

    @abstractmethod
    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y: of all x with the smallest ||A x - y||, the shortest, unless the operator says otherwise."""

    def project(self, x: Tensor, y: Tensor, strength: float = 1.0) -> Tensor:
        """x + strength A^+ (y - A x): at strength 1 the measured part of x is replaced by y's."""
        return x + strength * inverted(self, y - measured(self, x), x)


def measured(operator: Any, x: Tensor) -> Tensor:
    """A x of an operator or a function of the batch, with one row for each of x's.

    Raises:
        ValueError: anything else, which would be broadcast.
    """
    y = operator(x)
    if not isinstance(y, Tensor) or y.ndim == 0 or len(y) != len(x):
        raise ValueError(
            f"{name_of(operator)} measured x of shape {tuple(x.shape)} as {shown(y)}: a measurement has one "
            "row for each sample"
        )
    return y


def inverted(operator: Operator, y: Tensor, like: Tensor) -> Tensor:
    """A^+ y in the shape of the data ``like``.

    Raises:
        ValueError: another shape, which would be broadcast.
    """
    x = operator.pinv(y)
    if not isinstance(x, Tensor) or x.shape != like.shape:
        raise ValueError(
            f"the pseudo-inverse of {name_of(operator)} gave {shown(x)} for data of shape {tuple(like.shape)}"
        )
    return x


def require_images(x: Tensor, what: str) -> None:
    """Refuse anything that is not ``(B, C, H, W)``."""
    if x.ndim != 4:
        raise ValueError(f"{what} needs images (B, C, H, W), got shape {tuple(x.shape)}")
