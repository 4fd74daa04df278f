"""What can go wrong with data, as exceptions that say what was received and what would work."""

import errno

#: Of the file, and true for good: all other errors may be gone at the next opening.
_LASTING = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})


class UnreadableImage(ValueError):
    """One image cannot be read; `reason` says why, in the form ``"kind"`` or ``"kind: detail"``.

    `passing` reasons (permissions, a disk that failed) may be gone at the next opening: none remembers them.
    """

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.passing = passing


class TooLittle(ValueError):
    """Too few file handles or too little memory to go on: no fault of any file."""


def is_passing(error: OSError) -> bool:
    """Whether an error says nothing lasting about the file: permissions, a failing disk or share."""
    return error.errno not in _LASTING


def refuse_scarcity(error: BaseException, doing: str) -> None:
    """Raise `TooLittle` where handles or memory ran out, with what to change; otherwise do nothing.

    Args:
        doing: what was going on, such as "reading a.png".
    """
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        raise TooLittle(
            f"too many open files while {doing}: allow more (ulimit -n 4096) or use fewer workers"
        ) from error
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        raise TooLittle(
            f"not enough memory while {doing}: use fewer workers, a smaller size, or a smaller max_pixels"
        ) from error


class MissingPackage(ImportError, ValueError):
    """A package of an extra is not installed. It is a `ValueError` too, so that callers need one `except`."""


def missing_package(package: str, needed_for: str, instead: str) -> MissingPackage:
    """The error for `package` of the extra ``windvane[data]``; `instead` names what works without it."""
    return MissingPackage(
        f"{needed_for} needs the package {package!r}, which is not installed: "
        f"pip install 'windvane[data]'. Without it: {instead}."
    )
