"""Contrast guidance: move away from a weaker prediction.

One formula for the family: D_w = D_ref + w (D_main - D_ref). Weight 1 is the main prediction with no
guidance, weight 0 is the reference.
"""

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.denoiser import Denoiser, as_times, like
from windvane.guidance.data_range import Reach
from windvane.guidance.weights import Constant, Schedule, as_schedule, scheduled
from windvane.process import expand, scalar, shared_time


def contrast(reference: Tensor, main: Tensor, weight: Tensor) -> Tensor:
    """D_ref + w (D_main - D_ref), with ``weight`` ``(B,)``."""
    return reference + expand(weight, main) * (main - reference)


def check_unconditional(weight: Tensor, what: str) -> None:
    """Refuse weights ``(B,)`` that would guide, where there is no condition to guide with."""
    guiding = (weight != 0) & (weight != 1)
    if bool(guiding.any()):
        raise ValueError(
            f"{what} of weight {float(weight[guiding][0]):g} needs a condition, and none was given: pass "
            "cond=windvane.Condition.vector(ids), or sample the denoiser inside for unguided samples"
        )


class ClassifierFree(Denoiser):
    """Classifier-free guidance: D_w = D(x_t, t, null) + w (D(x_t, t, cond) - D(x_t, t, null)).

    Ho and Salimans 2022, arXiv 2207.12598, eq. 6, who write w' = w - 1. Here weight 1 is the plain
    conditional model, 0 the unconditional one, and more than 1 strengthens the condition.

    The conditional and the unconditional rows share one batched call. Where the weight is 1 for the
    whole batch only the conditional rows are evaluated, where it is 0 only the unconditional ones; so an
    interval costs nothing outside itself. Without a condition there is nothing to contrast, and a weight
    other than 0 and 1 is refused.

    Args:
        denoiser: a denoiser trained with condition dropout.
        weight: a number, or a schedule in noise level sigma / alpha (:mod:`windvane.guidance.weights`).
    """

    def __init__(self, denoiser: Denoiser, weight: float | Schedule) -> None:
        super().__init__(*like(denoiser, type(self).__name__))
        self.denoiser = denoiser
        self.weight = as_schedule(weight)
        self._pair: tuple[Condition, Condition] | None = None
        self._reach = Reach()

    def _both(self, cond: Condition) -> Condition:
        # One sampling run passes the same condition at every step; the last pair is kept for it.
        if self._pair is None or self._pair[0] is not cond:
            self._pair = (cond, Condition.cat([cond.null(), cond]))
        return self._pair[1]

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        rows = x_t.shape[0]
        times = as_times(t, rows)
        if isinstance(self.weight, Constant):
            weight = scalar(self.weight.weight, x_t.dtype)
            plain, off = self.weight.weight == 1, self.weight.weight == 0
        else:
            weight = scheduled(self.weight, self.process.noise_level(times), "the weight of ClassifierFree")
            plain, off = bool((weight == 1).all()), bool((weight == 0).all())
        if cond is None:
            check_unconditional(weight, "classifier-free guidance")
            return self.denoiser(x_t, times, None)
        if plain:
            return self.denoiser(x_t, times, cond)
        if off:
            return self.denoiser(x_t, times, cond.null())
        twice = times.as_strided((2 * rows,), (0,)) if shared_time(times) else times.repeat(2)
        both = self.denoiser(torch.cat([x_t, x_t]), twice, self._both(cond))
        reference, main = both.split_with_sizes((rows, rows))
        guided = contrast(reference, main, weight)
        self._reach.note(main, guided)
        return guided

    def finished(self) -> None:
        """At the end of a run: warn of a weight that has left the data's range."""
        self._reach.finish(type(self).__name__)
