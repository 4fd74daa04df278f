"""The command line. Holds no method: every command is a thin composition of library calls.

Nothing here imports torch at module level, so that `windvane --help` and every wrong flag or config answer
at once.
"""

from windvane.cli.app import app, main

__all__ = ["app", "main"]
