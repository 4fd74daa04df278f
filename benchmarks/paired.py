"""Pairs of calls timed in turn, one ratio a round: how the benchmarks say whether a bar is held."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Call = Callable[[], object]


@dataclass(frozen=True)
class Pair:
    """Median seconds of processor time of a pair, and the median ratio of its rounds beside its bar.

    Args:
        low, high: quartiles of the ratio.
        bar: what the ratio must not exceed; None where nothing is promised.
    """

    name: str
    own: float
    other: float
    ratio: float
    low: float
    high: float
    bar: float | None = None

    @property
    def holds(self) -> bool:
        return self.bar is None or self.ratio <= self.bar

    def row(self, unit: float = 1e3) -> list[str]:
        """Cells for :data:`HEADS`; ``unit`` turns seconds into what the table shows, milliseconds if left."""
        bar = "" if self.bar is None else f"{self.bar:g}"
        verdict = "" if self.bar is None else "holds" if self.holds else "does not hold"
        spread = f"{self.ratio:.2f} ({self.low:.2f} .. {self.high:.2f})"
        return [self.name, f"{self.own * unit:.4g}", f"{self.other * unit:.4g}", spread, bar, verdict]


def heads(own: str, other: str) -> list[str]:
    """Heads of a table of :meth:`Pair.row`."""
    return ["measure", own, other, "ratio (quartiles)", "at most", ""]


def processor_time(call: Call) -> float:
    """Seconds of processor time of one call, over all threads of the process."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def paired(
    name: str,
    ours: Call,
    other: Call,
    rounds: int,
    *,
    bar: float | None = None,
    per: int = 1,
    clock: Callable[[Call], float] = processor_time,
) -> Pair:
    """Time both in turn, the order turned each round, after one call of each that does not count.

    Args:
        per: what a call does this many times, such as steps: seconds are given for one of them.
    """
    ours(), other()
    spent: list[tuple[float, float]] = []
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds):
            if turn % 2:
                second = clock(other)
                spent.append((clock(ours), second))
            else:
                spent.append((clock(ours), clock(other)))
            gc.collect()
    finally:
        gc.enable()
    ratios = [a / b for a, b in spent]
    low, _, high = statistics.quantiles(ratios, n=4) if rounds > 1 else ratios * 3
    own, theirs = (statistics.median(column) / per for column in zip(*spent))
    return Pair(name, own, theirs, statistics.median(ratios), low, high, bar)


def seconds_of(runs: Mapping[str, Call], rounds: int) -> dict[str, list[float]]:
    """Seconds of every run in every round, the order turned each round."""
    names = list(runs)
    found: dict[str, list[float]] = {name: [] for name in names}
    for run in runs.values():
        run()
    gc.disable()
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            begin = time.perf_counter()
            runs[name]()
            found[name].append(time.perf_counter() - begin)
        gc.collect()
    gc.enable()
    return found
