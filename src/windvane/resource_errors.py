"""A full disk, a quota of file sizes, too little memory: one kind of error each, that says where.

Libraries report them in many forms: an OSError without a name, NumPy's "1 requested and 0 written", a
RuntimeError of torch's allocator or of its archives, safetensors' own error.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: No room left, a quota of blocks, a file that may not grow further.
NO_ROOM = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
_ROOM_TEXTS = {
    "No space left on device": errno.ENOSPC,
    "File too large": errno.EFBIG,
    "os error 28": errno.ENOSPC,
    "os error 27": errno.EFBIG,
    "os error 122": getattr(errno, "EDQUOT", errno.ENOSPC),
    "quota exceeded": getattr(errno, "EDQUOT", errno.ENOSPC),
}
# They do not say why: torch's archives, and NumPy's `tofile`.
_WRITE_TEXTS = ("failed writing file", "unexpected pos", "enforce fail at inline_container", " written")
_MEMORY_TEXTS = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "std::bad_alloc",
    "bad allocation",
    "storage size calculation overflowed",
    "invalid buffer size",
    "array is too big",
    "maximum allowed dimension exceeded",
    "numel: integer multiplication overflow",
    "maximum supported dimension",
)


def is_memory(error: BaseException) -> bool:
    """Whether an error says that there is too little memory, or that no machine has as much."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    text = str(error).lower()
    return isinstance(error, (RuntimeError, ValueError, OverflowError)) and any(
        part in text for part in _MEMORY_TEXTS
    )


@contextmanager
def writing(path: str | Path, temporary: Path | None = None) -> Iterator[None]:
    """Name ``path`` in what goes wrong for want of room while ``temporary``, or it, is written.

    Raises:
        OSError: with ``errno`` one of :data:`NO_ROOM` and the file's name, whatever the writer raised.
    """
    try:
        yield
    except Exception as error:
        number = _no_room(error, Path(temporary or path))
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _no_room(error: Exception, place: Path) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in NO_ROOM else None
    text = str(error)
    for part, number in _ROOM_TEXTS.items():
        if part in text:
            return number
    if isinstance(error, (OSError, RuntimeError)) and any(part in text for part in _WRITE_TEXTS):
        return _reason(place)
    return None


def _reason(place: Path) -> int | None:
    """Why nothing more can be written at ``place``, found by trying to write more."""
    folder = place if place.is_dir() else place.parent
    files = [path for path in (folder.rglob("*") if place.is_dir() else [place]) if path.is_file()]
    largest = max((path.stat().st_size for path in files), default=0)
    trial = folder / f".trial-{os.getpid()}"
    try:
        with trial.open("wb") as file:
            file.write(bytes(1 << 20))
            file.flush()
            file.seek(largest + (1 << 16))
            file.write(b"0")
    except OSError as found:
        return found.errno if found.errno in NO_ROOM else None
    finally:
        trial.unlink(missing_ok=True)
    return None
