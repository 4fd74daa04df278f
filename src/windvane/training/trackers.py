"""Dashboards by name, through Accelerate; the run's own files are written whether or not there is one."""

from collections.abc import Mapping, Sequence
from typing import Any


def check_trackers(names: Sequence[Any], *, has_run: bool) -> list[Any]:
    """Return ``names`` (or Accelerate tracker objects) if all can be used; else a ValueError says why not.

    Accelerate skips a tracker whose package is missing without a word; a user who asked for it should know.
    """
    if isinstance(names, str):
        raise ValueError(f"trackers must be a list of names, got the string {names!r}: write [{names!r}]")
    if not names:
        return []
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    available = {str(tracker) for tracker in get_available_trackers()}
    for name in names:
        if not isinstance(name, str):
            continue
        if name not in LOGGER_TYPE_TO_CLASS:
            raise ValueError(f"unknown tracker {name!r}; known: {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}")
        if name not in available:
            raise ValueError(
                f"tracker {name!r} needs a package that is not installed: "
                f"pip install {name.replace('_', '-')}"
            )
        if LOGGER_TYPE_TO_CLASS[name].requires_logging_directory and not has_run:
            raise ValueError(f"tracker {name!r} writes files: pass run=Run(folder)")
    return list(names)


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` with everything but numbers, strings and booleans as text: what all dashboards take."""
    return {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in settings.items()}
