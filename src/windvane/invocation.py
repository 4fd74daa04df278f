"""The command that this process is carrying out, so that what it writes can say how to make it again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

_COMMAND: ContextVar[dict[str, Any] | None] = ContextVar("windvane_command", default=None)


@contextmanager
def carrying_out(words: Sequence[str]) -> Iterator[None]:
    """Until the block ends, `windvane` with these words is the command, given in the present folder."""
    try:
        folder = str(Path.cwd())
    except OSError:  # the folder was removed
        folder = "/"
    token = _COMMAND.set({"words": [str(word) for word in words], "folder": folder})
    try:
        yield
    finally:
        _COMMAND.reset(token)


def made_by() -> dict[str, Any]:
    """``{"command": {"words": [...], "folder": ...}}``; empty where no command is carried out."""
    command = _COMMAND.get()
    return {} if command is None else {"command": command}
