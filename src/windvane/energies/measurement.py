"""How well a sample agrees with a measurement y = A x + noise."""

from collections.abc import Callable

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.energies.base import Energy
from windvane.energies.targets import rows_of

Measure = Callable[[Tensor], Tensor]


def _residual(operator: Measure, y: Tensor | str, x: Tensor, cond: Condition | None, name: str) -> Tensor:
    """y - A x, ``(B, m)``."""
    measured = operator(x)
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
        if not std > 0:
            raise ValueError(f"the noise of a measurement needs std > 0, got {std}")
        self.operator, self.y, self.std, self.name = operator, y, std, name
        self.signals = frozenset({y}) if isinstance(y, str) else frozenset()

    def log_likelihood(self, x: Tensor, t: Tensor, cond: Condition | None) -> Tensor:
        residual = _residual(self.operator, self.y, x, cond, self.name)
        return -residual.square().sum(1) / (2 * self.std**2)


class MeasurementNorm(Energy):
    """-||y - A x||_2, not squared: its gradient has the same size near and far (DPS, MPGD, FreeDoM)."""

    def __init__(self, operator: Measure, y: Tensor | str, *, name: str = "measurement norm") -> None:
        self.operator, self.y, self.name = operator, y, name
        self.signals = frozenset({y}) if isinstance(y, str) else frozenset()

    def log_likelihood(self, x: Tensor, t: Tensor, cond: Condition | None) -> Tensor:
        return -torch.linalg.vector_norm(_residual(self.operator, self.y, x, cond, self.name), dim=1)
