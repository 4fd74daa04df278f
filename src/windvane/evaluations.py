"""Counting network evaluations, whatever wraps the network.

Leaf denoisers call :func:`record_evaluation`; any number of nested :func:`count_evaluations` blocks see
it. A context variable carries the counters, so threads do not see each other's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class EvaluationCount:
    """Network calls, and rows over all calls (one row is one evaluation for one sample)."""

    calls: int = 0
    rows: int = 0


_active: ContextVar[tuple[EvaluationCount, ...]] = ContextVar("windvane_evaluations", default=())


@contextmanager
def count_evaluations() -> Iterator[EvaluationCount]:
    """Count the network evaluations made inside the block."""
    count = EvaluationCount()
    token = _active.set((*_active.get(), count))
    try:
        yield count
    finally:
        _active.reset(token)


def record_evaluation(rows: int) -> None:
    """Note one network call over ``rows`` rows."""
    for count in _active.get():
        count.calls += 1
        count.rows += rows
