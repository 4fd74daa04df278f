"""Gradient guidance: a denoiser guided by energies, and methods that are mixtures of guides."""

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from windvane.conditions import Condition
from windvane.denoiser import Denoiser, as_times, like
from windvane.guidance.composer import Composer, as_base
from windvane.guidance.energy_checks import GuidanceWarning
from windvane.guidance.guide import Guide
from windvane.guidance.guided_sampler import GuidedSampler, Recurrence
from windvane.guidance.step_weights import StepWeight
from windvane.guidance.weights import Schedule
from windvane.samplers.base import Sampler
from windvane.samplers.names import as_sampler


class Guided(Denoiser):
    """A denoiser whose prediction is pushed by energies: any sampler works with it unchanged.

    For guides whose push is "score" or "x0"; those that push after the step need
    :meth:`GradientGuidance.sampler`. Each evaluation makes one of the denoiser underneath, and one backward
    pass if a guide is active and needs it. Warns (:class:`GuidanceWarning`) if the first active evaluation
    changes nothing, and at the end of a run of every guide that changed nothing in it.

    Args:
        low_memory: see :func:`~windvane.guidance.recomputation.checkpointed_blocks`.
    """

    def __init__(self, denoiser: Denoiser, *guides: Guide, low_memory: bool = False) -> None:
        super().__init__(*like(denoiser, type(self).__name__))
        late = [g.push for g in guides if g.after_step]
        if late or not guides:
            raise ValueError(
                f"a guided denoiser takes guides that push the prediction, got pushes {late}; "
                "guide the sampler instead: GradientGuidance(guides).sampler(...)"
            )
        self.denoiser = denoiser
        self.compose = Composer(guides, denoiser.process, low_memory=low_memory)
        self._warned = self._asked = False

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        times = as_times(t, len(x_t))
        self._asked = True
        found = self.compose(as_base(self.denoiser), x_t, times, cond, network=self.denoiser)
        watch = self.compose.watch
        if found.active and watch.pulled and not watch.changed and not self._warned:
            self._warned = True
            level = float(self.process.noise_level(times).max())
            warnings.warn(
                f"guidance changed nothing at noise level sigma / alpha = {level:.4g}, where it is on: its "
                "weight is too small for the dtype",
                GuidanceWarning,
                stacklevel=2,
            )
        return found.x0

    def finished(self) -> None:
        """At the end of a run this denoiser took part in: warn of the guides that changed nothing, refuse
        energies without gradient."""
        if self._asked:
            self.compose.finished()
        self._asked = False


@dataclass(frozen=True)
class GradientGuidance:
    """Guides, and how often each step is made: a published method, or several mixed with ``+``.

    ``sample(denoiser, sampler=guidance.sampler(DDIM()), ...)`` runs any of them with any sampler and any
    denoiser, guided ones included. ``guidance.denoiser(denoiser)`` gives a guided denoiser instead, for
    those that change nothing but the prediction.
    """

    guides: tuple[Guide, ...]
    recurrence: Recurrence = Recurrence()

    def sampler(self, sampler: Sampler | str, *, low_memory: bool = False) -> GuidedSampler:
        """The sampler guided."""
        return GuidedSampler(as_sampler(sampler), self.guides, self.recurrence, low_memory)

    def denoiser(self, denoiser: Denoiser, *, low_memory: bool = False) -> Guided:
        """The denoiser guided.

        Raises:
            ValueError: a guide pushes the step, or steps are repeated: only a sampler can do that.
        """
        if self.recurrence.times > 1:
            raise ValueError("this guidance repeats steps, which a denoiser cannot; use .sampler(...)")
        return Guided(denoiser, *self.guides, low_memory=low_memory)

    def scaled(self, factor: float) -> "GradientGuidance":
        """The same guidance with every weight multiplied by ``factor``; 0 is off.

        Raises:
            ValueError: a factor that is not finite, or a step weight without a ``scale``.
        """
        if not math.isfinite(factor):
            raise ValueError(f"a guidance can only be scaled by a finite number, got {factor}")
        return replace(self, guides=tuple(replace(g, weight=_scaled(g.weight, factor)) for g in self.guides))

    def __add__(self, other: Any) -> "GradientGuidance":
        if not isinstance(other, GradientGuidance):
            return NotImplemented
        mine, theirs = self.recurrence, other.recurrence
        more = max(mine, theirs, key=lambda r: r.times)
        if min(mine.times, theirs.times) > 1 and mine != theirs:
            raise ValueError(f"two different recurrences do not mix: {mine} and {theirs}")
        return GradientGuidance(self.guides + other.guides, more)


def _scaled(weight: float | Schedule | StepWeight, factor: float) -> float | Schedule | StepWeight:
    if isinstance(weight, StepWeight):
        if weight.scale is None:
            raise ValueError(f"{weight} has no scale to multiply by {factor}")
        return replace(weight, scale=weight.scale * factor)  # type: ignore[type-var]
    if callable(weight):
        schedule = weight
        return lambda level: factor * schedule(level)
    return factor * weight
