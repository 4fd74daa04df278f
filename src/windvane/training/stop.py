"""Stopping a training from outside without losing its work."""

import signal
import threading
from types import FrameType
from typing import Any

#: Ctrl-C, the usual request to end, and the end of the terminal, which Windows does not have.
STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class StopSignals:
    """Within the block, the first SIGINT (Ctrl-C), SIGTERM or SIGHUP only sets :attr:`received`.

    A second one of the same kind has its usual effect, so that a hanging step can still be broken off. A
    signal the parent process chose to ignore stays ignored. Outside the main thread, where Python allows no
    handlers, nothing changes.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, Any] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        signal.signal(number, self._before.pop(number))

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in STOPS:
                before = signal.getsignal(number)
                # None stands for a handler that was not set by Python and cannot be restored by it.
                if before is not None and before != signal.SIG_IGN:
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()
