"""The next batch, drawn by a thread while the step before it runs."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch

from windvane.training.batch import Batch
from windvane.training.batches import Batches, Rows

#: Seconds: a batch that is drawn sooner costs as much to hand over as to draw.
_WORTH = 1e-3
#: So many batches in a row that took longer, and the thread draws from there on.
_SLOW = 3


class BatchesAhead:
    """`Batches.load` in the order of the steps, with the rows of the next step read in the meantime.

    The thread draws what depends on (seed, step) only; times come when their step begins, as they may depend
    on the losses so far. So batches are the same, bit for bit, as without the thread, and a saved state knows
    nothing of it. An error of the data is raised in the step that needs it, never before. Leaving the context
    ends the thread, after at most the batch that it is reading.

    Small data in memory are drawn sooner than a thread could hand them over: the first batches are drawn in
    their own step, and the thread begins after three in a row that took longer than ``worth``.

    Args:
        batches: of the training.
        end: the number of steps; nothing of step ``end`` is read.
        worth: seconds; 0 lets the thread draw from the first step on.
    """

    def __init__(self, batches: Batches, end: int, *, worth: float = _WORTH) -> None:
        self.batches, self.end, self.worth = batches, end, worth
        self._slow = 0 if worth > 0 else _SLOW
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="windvane-batches")
        # Helpers of its own would spin on the cores on which the step computes: 1.6 times its time on two.
        threads = torch.get_num_threads()
        self._pool.submit(_alone).result()
        torch.set_num_threads(threads)  # what later threads begin with
        self._key: tuple[int, int, int | None] | None = None
        self._rows: Future[Rows] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._key = self._rows = None

    def load(self, step: int, begin: int = 0, end: int | None = None) -> Batch:
        """As `Batches.load`; starts to read the same rows of the next step, where that takes its time."""
        if self._slow < _SLOW:
            began = time.perf_counter()
            rows = self.batches.rows(step, begin, end)
            self._slow = self._slow + 1 if time.perf_counter() - began > self.worth else 0
            return self.batches.timed(step, rows)
        key = (step, begin, end)
        ready = self._rows if self._key == key else None
        drawn = (self._submit(key) if ready is None else ready).result()
        self._key = self._rows = None
        if step + 1 < self.end:
            self._key = (step + 1, begin, end)
            self._rows = self._submit(self._key)
        return self.batches.timed(step, drawn)

    def _submit(self, key: tuple[int, int, int | None]) -> "Future[Rows]":
        # Whether gradients are recorded is a matter of the thread: it does as the caller does.
        return self._pool.submit(_rows, self.batches, key, torch.is_grad_enabled())


def _alone() -> None:
    torch.get_num_threads()  # the first call in a thread takes over the number of the process
    torch.set_num_threads(1)


def _rows(batches: Batches, key: tuple[int, int, int | None], gradients: bool) -> Rows:
    with torch.set_grad_enabled(gradients):
        return batches.rows(*key)
