"""One progress bar for the whole library, with one switch.

``WINDVANE_PROGRESS=0`` in the environment, or :func:`set_progress`, switches every bar off. Bars go to
standard error and appear only on a terminal, or as a line every ten seconds elsewhere.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from windvane.terminal_text import escaped

T = TypeVar("T")

_switch = {"on": True}


def set_progress(on: bool) -> None:
    """Switch all progress bars on or off."""
    _switch["on"] = on


def progress_enabled() -> bool:
    """Whether progress bars are on."""
    return _switch["on"] and os.environ.get("WINDVANE_PROGRESS", "1") != "0"


def duration(seconds: float) -> str:
    """A time as people say it: ``40 s``, ``12 min``, ``1 h 50 min``, ``3 days 4 h``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} days {hours} h" if hours else f"{days} days"


def track(
    iterable: Iterable[T],
    description: str,
    *,
    total: int | Callable[[], int] | None = None,
    enabled: bool = True,
) -> Iterator[T]:
    """Iterate with a bar that shows the share done and the time left; a ``total`` to call may change.

    What a terminal would obey in the description, which may hold names of files, is written out.
    """
    description = escaped(description)
    if not (enabled and progress_enabled()):
        yield from iterable
        return
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)  # type: ignore[arg-type]
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(desc=description, total=_number(total), leave=False, mininterval=0.2) as bar:
            for item in iterable:
                yield item
                bar.total = _number(total)
                bar.update()
    else:
        yield from _lines(iterable, description, total)


def _number(total: int | Callable[[], int] | None) -> int | None:
    return total() if callable(total) else total


def _lines(iterable: Iterable[T], description: str, total: int | Callable[[], int] | None) -> Iterator[T]:
    begin = last = time.monotonic()
    for done, item in enumerate(iterable, start=1):
        yield item
        now = time.monotonic()
        if now - last >= 10:
            last, whole = now, _number(total)
            of = f" of {whole}" if whole else ""
            left = f", {duration((now - begin) / done * (whole - done))} left" if whole else ""
            print(f"{description}: {done}{of}{left}", file=sys.stderr, flush=True)
