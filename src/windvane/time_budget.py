"""A time that a command is to take, counted from its start, and a training that ends with it."""

import time
from collections.abc import Callable

#: Steps before the first estimate: the first ones warm up, and say nothing of the others.
_WARM = 3


class TimeBudget:
    """The time of ``--minutes``.

    Args:
        minutes: in all; what was done before counts from ``begin``.
        begin: on ``clock``; now by default.
        clock: seconds that only grow.
    """

    def __init__(
        self, minutes: float, *, begin: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.minutes, self.clock = minutes, clock
        self.end = (clock() if begin is None else begin) + 60 * minutes

    def left(self) -> float:
        """Seconds until the end, below 0 after it."""
        return self.end - self.clock()

    def share(self, part: float) -> "TimeBudget":
        """The first ``part`` of what is left, as a budget of its own."""
        return TimeBudget(part * max(0.0, self.left()) / 60, clock=self.clock)


class Deadline:
    """How many steps a training has in all, asked after every step, so that it ends with its budget.

    The steps so far, with the grids and states between them, say how long the next ones take: on a machine
    that becomes busy there will be fewer, and more on one that becomes idle. Weights after n steps do not
    depend on what was planned, so a run that goes on from a state is bit for bit what it would have been.

    Args:
        budget: of the whole command.
        planned: steps, until enough of them are done to tell better.
        reserve: seconds for what follows the last step.
        ended: called once with the number of steps when the time is up.
    """

    def __init__(
        self, budget: TimeBudget, *, planned: int, reserve: float, ended: Callable[[int], None]
    ) -> None:
        self._budget, self._planned, self._reserve, self._ended = budget, planned, reserve, ended
        self._first: tuple[int, float] | None = None
        self._done = 0

    def room(self, seconds: float) -> bool:
        """Whether something that takes so long can be done beside the steps before the time is up."""
        return self._budget.left() - self._reserve > seconds

    def __call__(self, done: int) -> int:
        self._done += 1
        now = self._budget.clock()
        left = self._budget.left() - self._reserve
        if self._first is None:
            self._first = done, now
            each = 0.0
        else:
            each = (now - self._first[1]) / (done - self._first[0])
        if left < each / 2 or left <= 0:
            self._ended(done)
            return done
        if self._done <= _WARM:
            return max(self._planned, done + 1)
        return done + max(1, round(left / each)) if each else self._planned
