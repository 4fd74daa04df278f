"""How long the stages of a command take, said when each one ends."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from windvane.cli.common.console import tell


class Stages:
    """Lines on standard output such as "features of 1,203 images: 12 s".

    They wait until it is clear that there is something to do, so that a request that is refused gets the one
    line of its error.

    Args:
        aloud: say them; False in all processes but one.
    """

    def __init__(self, aloud: bool = True) -> None:
        self._aloud = aloud
        self._waiting: list[str] | None = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time what is done inside; nothing is said of what fails."""
        begin = time.monotonic()
        yield
        self.tell(f"{name}: {duration(time.monotonic() - begin)}")

    def tell(self, text: str) -> None:
        """Say a line, at once or as soon as lines need not wait."""
        if self._waiting is not None:
            self._waiting.append(text)
        elif self._aloud:
            tell(text)

    def begin(self) -> None:
        """Say what waits, and the rest at once: the request is in order, and the work begins."""
        waiting, self._waiting = self._waiting or [], None
        for text in waiting:
            self.tell(text)


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> [duration(value) for value in (0.04, 3.26, 59.6, 3725)]
    ['0.0 s', '3.3 s', '1 min', '1 h 2 min']
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
