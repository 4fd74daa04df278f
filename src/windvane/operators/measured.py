"""A measurement that was made: an operator with what it gave."""

from dataclasses import dataclass

from torch import Tensor

from windvane.operators.base import Operator


@dataclass(frozen=True)
class Measured:
    """An operator with the values it gave, ``y`` ``(1, *)``; ``what`` as a person would say it."""

    operator: Operator
    y: Tensor
    what: str
