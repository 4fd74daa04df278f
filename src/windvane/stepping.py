"""Which step of a sampling run is being taken: the one thing a denoiser cannot tell from its time.

The loop enters :func:`at_step` around each step; who runs a sampler's steps without the loop may do so, too.
Only what must count steps (a share of the steps for each of several models) asks. A context variable carries
the step, so threads do not see each other's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_step: ContextVar[tuple[int, int] | None] = ContextVar("windvane_step", default=None)


@contextmanager
def at_step(index: int, steps: int) -> Iterator[None]:
    """Within the block step ``index`` of ``steps`` (from 0) is being taken."""
    token = _step.set((index, steps))
    try:
        yield
    finally:
        _step.reset(token)


def current_step() -> tuple[int, int] | None:
    """(index, steps) of the step being taken, or None outside of one."""
    return _step.get()
