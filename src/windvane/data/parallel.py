"""Work in threads, results in order: image decoding releases the interpreter lock."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def ordered_map(function: Callable[[A], B], items: Iterable[A], *, workers: int | None = None) -> Iterator[B]:
    """``map(function, items)`` on `workers` threads (default: cores, at most 8), results in the items' order.

    At most eight items per thread are in flight, so that neither items nor results pile up in memory. One
    worker is the caller's own thread.

    Raises:
        ValueError: for fewer than one worker; and whatever `function` raises, at that item's turn.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    threads = workers if workers is not None else min(8, os.cpu_count() or 1)
    if threads == 1:  # a second thread would only be waited for
        yield from map(function, items)
        return
    waiting: deque[Future[B]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="windvane-data")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 8 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
