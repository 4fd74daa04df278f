"""What a measurement operator is."""

from abc import ABC, abstractmethod

from torch import Tensor


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
        return x + strength * self.pinv(y - self(x))


def require_images(x: Tensor, what: str) -> None:
    """Refuse anything that is not ``(B, C, H, W)``."""
    if x.ndim != 4:
        raise ValueError(f"{what} needs images (B, C, H, W), got shape {tuple(x.shape)}")
