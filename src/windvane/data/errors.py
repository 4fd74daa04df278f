"""What can go wrong with data, as exceptions that say what was received and what would work."""


class UnreadableImage(ValueError):
    """One image cannot be read; `reason` says why, in the form ``"kind"`` or ``"kind: detail"``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MissingPackage(ImportError, ValueError):
    """A package of an extra is not installed. It is a `ValueError` too, so that callers need one `except`."""


def missing_package(package: str, needed_for: str, instead: str) -> MissingPackage:
    """The error for `package` of the extra ``windvane[data]``; `instead` names what works without it."""
    return MissingPackage(
        f"{needed_for} needs the package {package!r}, which is not installed: "
        f"pip install 'windvane[data]'. Without it: {instead}."
    )
