"""Counting network evaluations, whatever wraps the network, and keeping within a limit of them.

Leaf denoisers call :func:`record_evaluation` before they ask their network; any number of nested
:func:`count_evaluations` blocks see it. A context variable carries the counters, so threads do not see each
other's.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from windvane.arguments import whole


class EvaluationLimit(Exception):
    """The next evaluations would exceed the limit of a :func:`count_evaluations` block: none was made."""


@dataclass
class EvaluationCount:
    """Network calls, and rows over all calls (one row is one evaluation for one sample).

    Args:
        limit: rows that may be made, or None.
    """

    calls: int = 0
    rows: int = 0
    limit: int | None = None


_active: ContextVar[tuple[EvaluationCount, ...]] = ContextVar("windvane_evaluations", default=())


@contextmanager
def count_evaluations(limit: int | None = None) -> Iterator[EvaluationCount]:
    """Count the network evaluations made inside the block.

    Args:
        limit: rows that the block may make; a call beyond them raises, before the network is asked.

    Raises:
        EvaluationLimit: from inside the block.
    """
    count = EvaluationCount(
        limit=None if limit is None else whole(limit, "the limit of evaluations", least=0)
    )
    token = _active.set((*_active.get(), count))
    try:
        yield count
    finally:
        _active.reset(token)


def evaluations_left() -> float:
    """Rows that may still be made here: infinitely many where no block has a limit."""
    return min((c.limit - c.rows for c in _active.get() if c.limit is not None), default=math.inf)


def record_evaluation(rows: int) -> None:
    """Note one network call over ``rows`` rows, which is about to be made."""
    active = _active.get()
    for count in active:
        if count.limit is not None and count.rows + rows > count.limit:
            raise EvaluationLimit(f"a call needs {rows} network rows, and {evaluations_left():g} are left")
    for count in active:
        count.calls += 1
        count.rows += rows
