"""Where what can be made again is kept."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """WINDVANE_CACHE, or a folder of its own in the user's cache folder."""
    given = os.environ.get("WINDVANE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(given) if given else (Path(base) if base else Path.home() / ".cache") / "windvane"
