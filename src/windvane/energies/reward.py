"""Any function of the batch as an energy."""

from collections.abc import Callable

from torch import Tensor

from windvane.conditions import Condition
from windvane.energies.base import Energy
from windvane.energies.targets import Eye


class Reward(Energy):
    """``function(x) -> (B,)``, larger is better: a reward model, or your own energy in one line.

    Args:
        function: differentiable, rows independent; with ``timed`` it is ``function(x, t)``.
        name: what errors call it; by default the function's own name.
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        *,
        timed: bool = False,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name or str(getattr(function, "__name__", type(function).__name__))
        self.eye = Eye(function, timed=timed, preprocess=preprocess)

    def log_likelihood(self, x: Tensor, t: Tensor, cond: Condition | None) -> Tensor:
        return self.eye(x, t, self.name)
