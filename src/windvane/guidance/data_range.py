"""Whether guidance, or a contrast of predictions, leaves the range of the data: said at the end of a run."""

import math
import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from windvane.current_step import will_finish
from windvane.finite import ends
from windvane.guidance.energy_checks import GuidanceWarning
from windvane.guidance.guide import Guide

#: How many times the range of data and noise is orders of magnitude beyond it.
FAR = 100.0
#: The largest of many normal numbers, rounded down: what x reaches in noise of deviation 1.
_NORMAL = 3.0


@dataclass(frozen=True)
class Departure:
    """The first push of a run that ended far from data, and how far pushes went after it.

    Args:
        keys: those of the guides that made it; level: its noise level sigma / alpha.
        reached: the largest number of the run; usual: what data and noise reach.
    """

    keys: tuple[Hashable, ...]
    level: float
    share: float
    reached: float
    usual: float


class DataRange:
    """What data of a run can reach, and the first push that left it by orders of magnitude.

    Data are taken to reach 1, or what the first prediction reaches, or a hundredth of the noise that a run
    starts from, whichever is most. Only ``far`` is looked at where all is well.
    """

    def __init__(self) -> None:
        self.reach = 0.0
        self.far = math.inf
        self.departure: Departure | None = None

    def begin(self, x: Tensor, x0: Tensor) -> None:
        """Before the first push of a run: ``x`` and the prediction, both without guidance."""
        if self.reach == 0:
            self.reach = max(1.0, largest(x0), largest(x) / (_NORMAL * FAR))
            self.far = FAR * self.reach

    def note(
        self, keys: tuple[Hashable, ...], before: Tensor, after: Tensor, level: float, sigma: float
    ) -> None:
        """A push, and that it ended beyond ``far``, which noise alone may explain."""
        reached, usual = largest(after), self.reach + _NORMAL * sigma
        if reached < FAR * usual:
            return
        push, was = after.detach() - before.detach(), largest(before)
        back = 1.0
        if was < largest(push) and bool((push * before.detach()).sum() < 0):
            back = 0.5 * was / largest(push)  # it overshoots: half of what lands where it should
        known = self.departure or Departure(keys, level, back, reached, usual)
        self.departure = replace(known, share=min(back, known.share), reached=max(reached, known.reached))

    def finish(self, guides: Sequence[Guide], key_of: Callable[[Guide], Hashable]) -> None:
        """At the end of a run: warns of a departure, and starts again."""
        found = self.departure
        self.reach, self.far, self.departure = 0.0, math.inf, None
        if found is None:
            return
        # Pushes that do not overshoot add up, in proportion to the weight.
        share = float(f"{found.share if found.share < 1 else found.usual / found.reached:.0e}")
        to_try = []
        for guide in guides:
            if key_of(guide) in found.keys:
                scale = guide.scale
                number = (
                    "" if scale is None or callable(scale) else f" from {scale:.3g} to {scale * share:.1g}"
                )
                to_try.append(f"the scale of {guide.energy.name!r}{number}")
        warnings.warn(
            f"guidance has left the data's range: from noise level sigma / alpha = {found.level:.4g} on "
            f"numbers reach {found.reached:.3g}, where data and noise reach about {found.usual:.3g}. Lower "
            f"{', '.join(dict.fromkeys(to_try))}: guidance.scaled({share:g}) is one to try",
            GuidanceWarning,
            stacklevel=2,
        )


def largest(x: Tensor) -> float:
    """The largest magnitude, NaN or infinite if a number is not finite, in one pass over x."""
    low, high = ends(x)
    return max(-low, high)


class Reach:
    """What the first unguided prediction of a run reaches, and the newest guided one."""

    def __init__(self) -> None:
        self._usual = 0.0
        self._newest: Tensor | None = None

    def note(self, plain: Tensor, guided: Tensor) -> None:
        """A prediction without guidance and with it, in a run that somebody will end."""
        if will_finish():
            if self._newest is None:
                self._usual = max(1.0, largest(plain))
            self._newest = guided.detach() if guided.requires_grad else guided

    def finish(self, who: str) -> None:
        """At the end of a run: warns where the last prediction is orders of magnitude beyond the first."""
        newest, self._newest = self._newest, None
        if newest is None or not (reached := largest(newest)) >= FAR * self._usual:
            return
        warnings.warn(
            f"guidance has left the data's range: the last prediction reaches {reached:.3g}, where the first "
            f"one without guidance reached {self._usual:.3g}. Lower the weight of {who}: 1.5 to 10 are usual",
            GuidanceWarning,
            stacklevel=2,
        )
