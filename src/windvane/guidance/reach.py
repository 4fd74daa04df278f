"""Whether a contrast of two predictions leaves the data's range: looked at twice a run."""

import warnings

from torch import Tensor

from windvane.guidance.checks import GuidanceWarning
from windvane.guidance.range import FAR, largest
from windvane.stepping import will_finish


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
