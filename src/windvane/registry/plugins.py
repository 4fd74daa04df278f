"""Rows that other installed packages add.

A package names a module of rows in its own ``pyproject.toml``::

    [project.entry-points."windvane.plugins"]
    mine = "my_package.rows:ROWS"

with ``ROWS = [Row("sampler", "midpoint", "my_package.midpoint:Midpoint", "the midpoint rule")]`` there. That
module is imported as soon as names are asked for, so it should import :class:`~windvane.registry.Row` alone.
Only what is installed is imported; nothing that a file or a picture names is.
"""

import warnings
from collections.abc import Iterator
from importlib.metadata import entry_points

from windvane.registry.row import Row

GROUP = "windvane.plugins"


class PluginWarning(UserWarning):
    """A package whose rows could not be read; everything else works without it."""


def plugin_rows() -> Iterator[Row]:
    """The rows of every installed package, in the order of their entry points' names."""
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            rows = list(point.load())
            if not all(isinstance(row, Row) for row in rows):
                raise TypeError("it must be a list of windvane.registry.Row")
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            warnings.warn(f"the plugin {point.name!r} ({point.value}) is left out: {text}", PluginWarning, 2)
            continue
        yield from rows
