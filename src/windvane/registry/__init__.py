"""Everything that has a name: what it is called, where its class stands, which options it has.

Command line, checkpoints, pages and other packages look names up here. To look at names imports nothing; the
class of a row is imported when it is asked for. A package of its own adds rows by an entry point of the group
``windvane.plugins``, see :mod:`windvane.registry.plugins`.
"""

from windvane.registry.lookup import entries, find, known_names, register
from windvane.registry.row import KINDS, Option, Row

__all__ = ["KINDS", "Option", "Row", "entries", "find", "known_names", "register"]
