"""How well a sample agrees with a measurement y = A x + noise."""

from collections.abc import Callable

import torch
from torch import Tensor

from windvane.arguments import called, real
from windvane.conditions import Condition
from windvane.energies.base import Energy
from windvane.energies.targets import as_target, rows_of
from windvane.operators.base import measured as one_row_each
from windvane.operators.measured import Measured

Measure = Callable[[Tensor], Tensor]


def _residual(operator: Measure, y: Tensor | str, x: Tensor, cond: Condition | None, name: str) -> Tensor:
    """y - A x, ``(B, m)``."""
    measured = one_row_each(operator, x)
    target = rows_of(y, x, cond, name).to(measured)
    if target.shape[1:] != measured.shape[1:]:
        raise ValueError(
            f"the measurement of {name!r} has shape {tuple(target.shape[1:])} a row, "
            f"the operator gives {tuple(measured.shape[1:])}"
        )
    return (target - measured).flatten(1)


class Measurement(Energy):
    """log N(y; A x, std^2) up to a constant: -||y - A x||^2 / (2 std^2).

    Args:
        operator: an :class:`~windvane.operators.Operator` or any function of the batch.
        y: ``(1, *)`` or ``(B, *)``, or the name of a condition's signal.
        std: standard deviation of the measurement's noise.
    """

    def __init__(
        self, operator: Measure, y: Tensor | str, std: float = 1.0, *, name: str = "measurement"
    ) -> None:
        self.operator = called(operator, "the operator of a measurement", "of the batch")
        self.y, self.name = as_target(y, name), name
        self.std = real(std, "std, the deviation of a measurement's noise,", above=0)
        self.signals = frozenset({y}) if isinstance(y, str) else frozenset()

    def log_likelihood(self, x: Tensor, t: Tensor, cond: Condition | None) -> Tensor:
        residual = _residual(self.operator, self.y, x, cond, self.name)
        return -residual.square().sum(1) / (2 * self.std**2)


class MeasurementNorm(Energy):
    """-||y - A x||_2, not squared: its gradient has the same size near and far (DPS, MPGD, FreeDoM)."""

    def __init__(self, operator: Measure, y: Tensor | str, *, name: str = "measurement norm") -> None:
        self.operator = called(operator, "the operator of a measurement", "of the batch")
        self.y, self.name = as_target(y, name), name
        self.signals = frozenset({y}) if isinstance(y, str) else frozenset()

    def log_likelihood(self, x: Tensor, t: Tensor, cond: Condition | None) -> Tensor:
        return -torch.linalg.vector_norm(_residual(self.operator, self.y, x, cond, self.name), dim=1)


def measured_norm(measure: Measured) -> MeasurementNorm:
    """:class:`MeasurementNorm` of a measurement that was made."""
    return MeasurementNorm(measure.operator, measure.y, name=f"measure {measure.what}")
