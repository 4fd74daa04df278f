"""Figures that are already measured, so that a long reproduction can be cut into several runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Kept:
    """``kept(key, make)`` is what ``make()`` gave for that key, in this run or in an earlier one.

    Args:
        path: a JSON file of figures, made where there is none; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.found: dict[str, Any] = (
            json.loads(path.read_text()) if path is not None and path.exists() else {}
        )

    def __call__(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self.found:
            self.found[key] = make()
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.write_text(json.dumps(self.found, indent=1))
        return self.found[key]
