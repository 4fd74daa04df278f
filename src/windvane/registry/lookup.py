"""Rows by kind and name: the library's own, then those of other packages."""

import warnings
from difflib import get_close_matches
from typing import Any

from windvane.registry.builtin import ROWS
from windvane.registry.plugins import PluginWarning, plugin_rows
from windvane.registry.row import KINDS, Row

_own: dict[tuple[str, str], Row] = {}
_others: dict[tuple[str, str], Row] = {}
_plugins_read = False


def entries(kind: str) -> tuple[Row, ...]:
    """All rows of a kind, the library's own first, each in the order of its registration."""
    _check_kind(kind)
    _read_plugins()
    return tuple(row for table in (_own, _others) for (of, _), row in table.items() if of == kind)


def known_names(kind: str) -> tuple[str, ...]:
    """The names of a kind."""
    return tuple(row.name for row in entries(kind))


def find(kind: str, name: Any) -> Row:
    """The row of a name, or of another name for the same.

    Raises:
        ValueError: nobody has registered it; the message has the names there are.
    """
    _check_kind(kind)
    own = _own.get((kind, name)) if isinstance(name, str) else None  # the library's own read no plugin
    row = own or _found(kind, name)
    if row is not None:
        return row
    names = known_names(kind)
    close = get_close_matches(str(name), names, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else "."
    raise ValueError(f"there is no {kind} {name!r:.80}{meant} Known: {', '.join(names)}")


def register(row: Row) -> Row:
    """Add a row for this process; a package does so for every process by an entry point.

    Raises:
        ValueError: the name is taken by something else.
    """
    taken = _found(row.kind, row.name)
    if taken is not None and taken.target != row.target:
        raise ValueError(
            f"the {row.kind} {row.name!r} is taken by {taken.target}; choose another name for {row.target}"
        )
    _others[row.kind, row.name] = row
    return row


def _found(kind: str, name: Any) -> Row | None:
    for row in entries(kind):
        if name == row.name or name in row.also:
            return row
    return None


def _read_plugins() -> None:
    """Rows of installed packages, once a process."""
    global _plugins_read
    if not _plugins_read:
        _plugins_read = True  # first, since a plugin may ask for names while it is imported
        for row in plugin_rows():
            try:
                register(row)
            except ValueError as error:
                warnings.warn(f"a name of a plugin is left out: {error}", PluginWarning, stacklevel=3)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; known: {', '.join(KINDS)}")


_own.update({(row.kind, row.name): row for row in ROWS})
