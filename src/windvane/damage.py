"""Damaged files: whatever reading one raises becomes a single error that names the file.

A file that was cut short, overwritten or edited raises what its reader happens to stumble over: a KeyError,
an EOFError, an error of zlib. Here, and nowhere else, that is turned into :class:`Damaged`. Too many open
files, missing permissions and a failing disk are no damage and pass through.
"""

import errno
import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO
from zipfile import BadZipFile, ZipFile, is_zipfile

#: What readers of Python, NumPy, Pillow and torch raise for content that is not what it should be.
_CONTENT = (
    ValueError,  # with UnicodeDecodeError and JSONDecodeError
    ArithmeticError,
    AssertionError,
    AttributeError,
    BadZipFile,
    EOFError,
    LookupError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    TypeError,
    UnpicklingError,
    struct.error,
    zlib.error,
)
#: By name, since their libraries are imported by those who read such files only.
_NAMED = {"SafetensorError", "YAMLError", "LZMAError", "ArrowException", "DecompressionBombError"}
#: Errors of the operating system that content causes: a seek to where no file can have anything.
_CAUSED = (None, errno.EINVAL, errno.EOVERFLOW)
_LONGEST = 200


class Damaged(ValueError):
    """A file that does not hold what was written into it, or nothing that can be read.

    Args:
        path: the file, or the folder it belongs to.
        reason: what is wrong with it.
        remedy: what to do about it.
    """

    def __init__(self, path: str | Path, reason: str, remedy: str = "") -> None:
        super().__init__(f"{path} is damaged: {reason}{f'; {remedy}' if remedy else ''}")
        self.path, self.reason = Path(path), reason


@contextmanager
def reading(path: str | Path, *, remedy: str = "") -> Iterator[None]:
    """Turn what the content of ``path`` makes its reader raise into :class:`Damaged`.

    Args:
        path: the file that the block reads and takes apart, and nothing else.
        remedy: what to do about it, for the end of the message.

    Raises:
        Damaged: the block failed over the content.
        OSError: the file is not there, or the system cannot read it.
    """
    try:
        yield
    except Damaged:
        raise
    except MemoryError as error:
        raise ValueError(f"{path} does not fit into memory, or is damaged: {_reason(error)}") from error
    except OSError as error:
        if error.errno not in _CAUSED:
            raise
        raise Damaged(path, _reason(error), remedy) from error
    except Exception as error:
        if not isinstance(error, _CONTENT) and _NAMED.isdisjoint(
            base.__name__ for base in type(error).__mro__
        ):
            raise
        raise Damaged(path, _reason(error), remedy) from error


def read_json(path: str | Path, *, remedy: str = "") -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        Damaged: not UTF-8, not JSON, nested too deeply, or no object.
        OSError: the file is not there, or cannot be read.
    """
    with reading(path, remedy=remedy):
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"it holds no JSON object, but {type(found).__name__}")
    return found


def inflated_size(file: str | Path | BinaryIO) -> int:
    """Bytes of all that an archive says it holds."""
    with ZipFile(file) as archive:
        return sum(member.file_size for member in archive.infolist())


def check_inflation(path: str | Path, *, ratio: int, free: int) -> None:
    """Refuse an archive that would grow far beyond its size when it is read, which a few kilobytes can do.

    Args:
        path: the file; one that is no zip archive passes.
        ratio: how many times its own size the content may have.
        free: bytes that any archive may have.

    Raises:
        Damaged: more than that, by what the archive itself says: readers stop there.
    """
    with reading(path):
        if not is_zipfile(path):
            return
        content, size = inflated_size(path), Path(path).stat().st_size
        if content > max(free, ratio * size):
            raise ValueError(f"its {size:,} bytes would become {content:,} when it is opened")


def _reason(error: BaseException) -> str:
    """An error in one short line."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, EOFError):
        return "it ends too early"
    if isinstance(error, UnicodeDecodeError):
        return "it is not text in UTF-8"
    text = " ".join(str(error).split())
    if not text:
        return type(error).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
