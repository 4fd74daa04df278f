"""What a user sees when something is wrong: one line on standard error, and an exit code.

Exit codes: 0 done, 1 a defect of Windvane (with traceback) or a failed check, 2 wrong input, 130 interrupted.
"""

import errno
import os
import re
import sys
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from zipfile import BadZipFile

from windvane.resource_errors import NO_ROOM, is_memory
from windvane.terminal_text import escaped

# FloatingPointError: samples or a loss that are no longer finite, which settings cause and settings cure.
USER_ERRORS = (ValueError, OSError, ImportError, FloatingPointError)


#: Nobody raises these but readers of files. Those that name the file have become a ValueError already.
DAMAGE = (EOFError, BadZipFile, zlib.error, UnicodeDecodeError)


class Interrupted(Exception):
    """Ctrl-C, with a sentence on what was kept and how to go on."""


def one_line(text: str) -> str:
    """`text` with runs of white space, newlines included, as one space, and control characters escaped."""
    return escaped(" ".join(str(text).split()))


def say(text: str) -> None:
    """Write one line on standard error."""
    print(f"windvane: {one_line(text)}", file=sys.stderr, flush=True)


def warned(message: Any, category: type[Warning], *place: Any) -> None:
    """What Python calls for a warning: one line, without the place in the source; those of others by name."""
    if issubclass(category, UserWarning):
        say(f"warning: {message}")


@contextmanager
def warnings_said() -> Iterator[None]:
    """Warnings of the library as lines on standard error, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for message in dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning)):
        say(message)


def describe(error: BaseException) -> str:
    """The message of an error; operating-system errors get the path they are about."""
    if is_memory(error):
        return _memory(error)
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return _no_room(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, ModuleNotFoundError) and error.name:
        extra = EXTRAS.get(error.name.partition(".")[0])
        if extra:
            return f"this needs {error.name}: pip install 'windvane[{extra}]'"
        return f"this needs {error.name}, which is not installed: pip install {error.name}"
    return str(error) or type(error).__name__


EXTRAS = {
    "pyarrow": "data",
    "datasets": "data",
    "faiss": "faiss",
    "scoringrules": "series",
    "statsmodels": "series",
    "gradio": "studio",
}


def _no_room(error: OSError) -> str:
    where = error.filename or "the disk that is written to"
    if error.errno == errno.EFBIG:
        return (
            f"no file may grow as large as {where} needs (a quota, see ulimit -f, or the disk's own limit); "
            "raise it, choose another --out, or make the model or the batch of pictures smaller"
        )
    what = "the disk is full" if error.errno == errno.ENOSPC else "the quota of the disk is used up"
    return (
        f"{what}: {where} could not be written; free some space there, or choose another --out "
        "(caches: WINDVANE_CACHE)"
    )


def _memory(error: BaseException) -> str:
    text = one_line(str(error))
    asked = re.search(r"allocate (\d+) bytes|allocate ([\d.]+ [KMGTPE]i?B)", text)
    size = ""
    if asked:
        size = asked[2] or f"{int(asked[1]) / 2**30:.1f} GiB"
        size = f" ({size} more were asked for)"
    return (
        f"too little memory{size}; lower what is held at once: --batch-size (in training also raise "
        "train.accumulate), --n, --size, or the network's width and channels (model.*)"
    )


def guarded(call: Callable[[], Any], *, debug: bool = False) -> int:
    """Run `call` and turn what it raises into a message and an exit code."""
    try:
        result = call()
        code = result if isinstance(result, int) else 0
        if code == 130:  # typer swallows Ctrl-C and gives its code back
            say("interrupted")
        return code
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException as error:
        if debug:
            traceback.print_exception(error)
        return explain(error, traceback_shown=debug)


def explain(error: BaseException, *, traceback_shown: bool = False) -> int:
    """Print what a user should know of `error`; returns the exit code."""
    if isinstance(error, Interrupted):
        say(f"interrupted: {error}")
        return 130
    # Typer takes the end of a file for Ctrl-D at a prompt, of which there are none here.
    if isinstance(error.__cause__, EOFError) and type(error).__name__ == "Abort":
        error = error.__cause__
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        say("interrupted")
        return 130
    if isinstance(error, BrokenPipeError):
        silence_output()
        return 0
    if hasattr(error, "format_message"):  # a usage error of typer (or of click, which older versions use)
        message = one_line(error.format_message()).replace("Value error, ", "").rstrip(".")
        say(f"error: {message}{_help_hint(error)}")
        return 2
    if isinstance(error, DAMAGE):
        say(f"error: a file is damaged: {describe(error)}")
        return 2
    if isinstance(error, USER_ERRORS) or is_memory(error):
        say(f"error: {describe(error)}")
        return 2
    if not traceback_shown:
        traceback.print_exception(error)
    say(f"internal error: {type(error).__name__}: {error} (a defect of windvane, please report it)")
    return 1


def silence_output() -> None:
    """When the reader of a pipe has gone (`windvane papers | head`), keep Python from complaining at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _help_hint(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see {context.command_path} --help)" if context is not None else ""
