"""Projection of the prediction onto a measurement: steering without a gradient."""

from torch import Tensor

from windvane.conditions import Condition
from windvane.denoiser import Denoiser, as_times
from windvane.energies.targets import rows_of
from windvane.guidance.weights import Schedule, as_schedule
from windvane.operators import Operator
from windvane.process import expand


class Projected(Denoiser):
    """D' = D + w A^+ (y - A D): the measured part of the prediction is replaced by the measurement.

    Steered Diffusion for linear conditions (Nair et al. 2023, arXiv 2310.00224); eps is recomputed from
    D'. One evaluation, no backward pass.

    Args:
        y: ``(1, *)`` or ``(B, *)``.
        weight: 1 trusts y completely, 0 is off; less than 1 where y is noisy. A number or a schedule.
    """

    def __init__(
        self, denoiser: Denoiser, operator: Operator, y: Tensor, weight: float | Schedule = 1.0
    ) -> None:
        super().__init__(denoiser.process, denoiser.shape)
        self.denoiser, self.operator, self.y = denoiser, operator, y
        self.weight = as_schedule(weight)

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        times = as_times(t, len(x_t))
        x0 = self.denoiser(x_t, times) if cond is None else self.denoiser(x_t, times, cond)
        weight = self.weight(self.process.noise_level(times))
        if not bool((weight != 0).any()):
            return x0
        y = rows_of(self.y, x_t, cond, "projection").to(x0)
        return x0 + expand(weight, x0) * self.operator.pinv(y - self.operator(x0))
