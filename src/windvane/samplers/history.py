"""What multistep solvers remember, and the first-order step they all correct.

They work in the *half* log-SNR l = lambda / 2 = log(alpha / sigma). Coefficients are Python floats
(float64); only the last linear combination is in x's dtype.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor

from windvane.process import Process


class Level(NamedTuple):
    """alpha, sigma and the half log-SNR at one time."""

    alpha: float
    sigma: float
    half: float


def level_at(process: Process, t: Tensor) -> Level:
    """The level of a 0-dim time; l = +inf where sigma = 0 and -inf where alpha = 0."""
    alpha, sigma = map(float, process.scales(t))
    if alpha > 0 and sigma > 0:
        return Level(alpha, sigma, math.log(alpha) - math.log(sigma))
    return Level(alpha, sigma, math.inf if sigma == 0 else -math.inf)


@dataclass(frozen=True)
class History:
    """State of a multistep solver: predictions of x0, newest first, and the half log-SNR of each.

    Args:
        steps_left: steps above sigma = 0 still to take on the grid that ``init`` saw; the step to 0 is none
            of them, because it returns the prediction whatever the order.
        halves: half log-SNR of each prediction.
        predictions: predictions ``(B, *)``.
        ready: (half log-SNR, prediction) at the current point, where the last step made it already.
    """

    steps_left: int
    halves: tuple[float, ...] = ()
    predictions: tuple[Tensor, ...] = ()
    ready: tuple[float, Tensor] | None = None

    @classmethod
    def on(cls, times: Tensor) -> "History":
        """The empty history at the start of a grid."""
        return cls(steps_left=len(times) - 1 - int(float(times[-1]) == 0))

    def at(self, half: float) -> Tensor | None:
        """The prediction already made at the current point, if it is at this level."""
        return self.ready[1] if self.ready is not None and self.ready[0] == half else None

    def push(self, half: float, prediction: Tensor, *, keep: int) -> "History":
        """The history with a new newest prediction, cut to ``keep`` entries."""
        halves = (half, *self.halves)[:keep]
        return replace(self, halves=halves, predictions=(prediction, *self.predictions)[:keep], ready=None)

    def order(self, highest: int, there: Level, *, lower_order_final: bool) -> int:
        """The order that the step from the newest entry to ``there`` can have, at most ``highest``.

        Grows with the usable entries: those at finite levels that approach ``there`` without turning
        back (after a return to a noisier time the order starts again at 1). A step to or from an
        infinite level is of order 1. With ``lower_order_final`` it is at most the number of steps left above
        sigma = 0.
        """
        h = there.half - self.halves[0]
        if not math.isfinite(h):
            return 1
        highest = max(1, min(highest, self.steps_left)) if lower_order_final else highest
        order = 1
        for newer, older in zip(self.halves, self.halves[1:highest]):
            if not math.isfinite(older) or (newer - older) * h <= 0:
                break
            order += 1
        return order

    def advance(self, ready: tuple[float, Tensor] | None = None) -> "History":
        """The state after a step; ``ready`` is a prediction made at the new point."""
        return replace(self, steps_left=self.steps_left - 1, ready=ready)

    def moved(self) -> "History":
        """The state after x was changed from outside: no prediction is ready for it."""
        return replace(self, ready=None)

    def restarted(self) -> "History":
        """The state of a trajectory that begins here: no predictions, as many steps left."""
        return History(self.steps_left)


def first_order(x: Tensor, x0: Tensor, here: Level, there: Level) -> Tensor:
    """(sigma_s / sigma_t) x + alpha_s (1 - exp(-h)) x0, with h = l_s - l_t: DDIM, DPM-Solver++-1.

    At an infinite level the factor is written alpha_s - alpha_t sigma_s / sigma_t, which has no limit to
    take: the step to sigma_s = 0 is x0.
    """
    ratio = there.sigma / here.sigma
    h = there.half - here.half
    factor = -there.alpha * math.expm1(-h) if math.isfinite(h) else there.alpha - here.alpha * ratio
    return ratio * x + factor * x0


def psi(k: int, z: float) -> float:
    """psi_k(z) = sum over j >= 1 of z^j / (k + j)!, so that psi_0 = e^z - 1 and psi_k = psi_{k-1}/z - 1/k!.

    The recursion loses k + 1 digits for each digit of a small z; the series is used there.
    """
    if abs(z) < 1:
        term, total = 1 / math.factorial(k), 0.0
        for j in range(1, 20):
            term *= z / (k + j)
            total += term
        return total
    value = math.expm1(z)
    for j in range(1, k + 1):
        value = value / z - 1 / math.factorial(j)
    return value
