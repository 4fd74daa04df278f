"""Which step of a sampling run is being taken: the one thing a denoiser cannot tell from its time.

The loop enters :func:`at_step` around each step; who runs a sampler's steps without the loop may do so, too.
Only what must count steps (a share of the steps for each of several models) asks. A context variable carries
the step, so threads do not see each other's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_step: ContextVar[tuple[int, int] | None] = ContextVar("windvane_step", default=None)
_looped: ContextVar[bool] = ContextVar("windvane_looped", default=False)


@contextmanager
def at_step(index: int, steps: int) -> Iterator[None]:
    """Within the block step ``index`` of ``steps`` (from 0) is being taken."""
    token = _step.set((index, steps))
    try:
        yield
    finally:
        _step.reset(token)


class LoopStep:
    """Within the block the sampling loop takes step ``index`` of ``steps``, and finishes at last.

    A class, since the loop enters it at every step: a generator would cost as much as an operation on x.
    """

    __slots__ = ("_looping", "_place", "_taking")

    def __init__(self, index: int, steps: int) -> None:
        self._place = (index, steps)

    def __enter__(self) -> None:
        self._taking, self._looping = _step.set(self._place), _looped.set(True)

    def __exit__(self, *error: object) -> None:
        _looped.reset(self._looping)
        _step.reset(self._taking)


def will_finish() -> bool:
    """Whether the loop will call ``finished``; who takes steps otherwise must notice the end himself."""
    return _looped.get()


def current_step() -> tuple[int, int] | None:
    """(index, steps) of the step being taken, or None outside of one."""
    return _step.get()
