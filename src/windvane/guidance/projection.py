"""Projection of the prediction onto a measurement: steering without a gradient."""

import warnings

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.denoiser import Denoiser, as_times, like
from windvane.energies.targets import rows_of
from windvane.guidance.composer import own_signals, without
from windvane.guidance.energy_checks import GuidanceWarning
from windvane.guidance.weights import Schedule, as_schedule, scheduled
from windvane.operators import Measured, Operator
from windvane.operators.base import inverted, measured
from windvane.process import expand


class Projected(Denoiser):
    """D' = D + w A^+ (y - A D): the measured part of the prediction is replaced by the measurement.

    Steered Diffusion for linear conditions (Nair et al. 2023, arXiv 2310.00224); eps is recomputed from
    D'. One evaluation, no backward pass. Bias: the unmeasured part hears of y through x_t alone, over the
    steps; it is exact where the two parts are independent. Several measurements at once are one
    :class:`~windvane.operators.Stacked` operator. To make every step N times over, as the paper does, sample
    with :func:`presets.repeated(N) <windvane.guidance.presets.repeated>`.

    Args:
        y: ``(1, *)`` or ``(B, *)``, or the name of a condition's signal with them.
        weight: 1 trusts y completely, 0 is off; less than 1 where y is noisy. A number or a schedule.
        within: the data's range (low, high). D' then also lies there, as far as ``rounds`` of alternating
            projections bring it: clamped to the range, then onto the measurement. A replacement alone may
            leave the range, and clamping it afterwards would undo a part of it.

    Raises:
        ValueError: an operator that is not linear, a y of another shape or not finite, an empty range.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        operator: Operator,
        y: Tensor | str,
        weight: float | Schedule = 1.0,
        *,
        within: tuple[float, float] | None = None,
        rounds: int = 10,
    ) -> None:
        super().__init__(*like(denoiser, type(self).__name__))
        if not operator.linear:
            raise ValueError(
                f"a projection needs a linear operator, {type(operator).__name__} is not; guide by the "
                "gradient of Measurement(operator, y) instead"
            )
        if isinstance(y, Tensor) and not bool(torch.isfinite(y).all()):
            raise ValueError("the measurement y to project on holds NaN or infinity")
        if within is not None and not within[0] < within[1]:
            raise ValueError(f"within=(low, high) needs low < high, got {within}")
        if rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {rounds}")
        self.denoiser, self.operator, self.y = denoiser, operator, y
        self.weight, self.within, self.rounds = as_schedule(weight), within, rounds
        self._own = own_signals([y] if isinstance(y, str) else [])
        self._asked = self._acted = False

    def _measured(self, x: Tensor, y: Tensor) -> Tensor:
        """x + A^+ (y - A x), and in the range if that is asked for."""
        if self.within is None:
            return self.operator.project(x, y)
        for _ in range(self.rounds):
            x = self.operator.project(x.clamp(*self.within), y)
        return x

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        times = as_times(t, len(x_t))
        seen = without(cond, self._own)
        x0 = self.denoiser(x_t, times) if seen is None else self.denoiser(x_t, times, seen)
        weight = scheduled(self.weight, self.process.noise_level(times), "the weight of a projection")
        self._asked = True
        if not bool((weight != 0).any()):
            return x0
        self._acted = True
        y = rows_of(self.y, x_t, cond, "projection").to(x0)
        there = measured(self.operator, x0)
        if y.shape[1:] != there.shape[1:]:
            raise ValueError(
                f"the measurement y has shape {tuple(y.shape[1:])} a row, the operator gives "
                f"{tuple(there.shape[1:])}"
            )
        if self.within is None:
            return x0 + expand(weight, x0) * inverted(self.operator, y - there, x0)
        return x0 + expand(weight, x0) * (self._measured(x0, y) - x0)

    def finished(self) -> None:
        """At the end of a run: warn if the weight was 0 throughout."""
        if self._asked and not self._acted:
            warnings.warn(
                "guidance changed nothing in this run (projection): its weight is 0 at every step",
                GuidanceWarning,
                stacklevel=2,
            )
        self._asked = self._acted = False


def projected(
    denoiser: Denoiser, measure: Measured, weight: float | Schedule = 1.0, *, rounds: int = 10
) -> Projected:
    """Projected onto a measurement of pictures in [-1, 1], and kept in that range."""
    return Projected(denoiser, measure.operator, measure.y, weight, within=(-1.0, 1.0), rounds=rounds)
