"""How many channels the images of an earlier run, model or annotation have."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from windvane.data import ImageData

#: Where a shape (C, H, W) is noted: the model counts before the annotation that it was trained with.
_NOTED = (
    ("model/windvane.json", "shape"),
    ("windvane.json", "shape"),
    ("annotations/annotation.json", "image"),
    ("annotation.json", "image"),
)


def noted_channels(folder: Path) -> int | None:
    """1 or 3, as the model or the annotation in `folder` notes; None where neither says."""
    for name, key in _NOTED:
        shape = _noted(folder / name, key)
        if isinstance(shape, list) and len(shape) == 3 and shape[0] in (1, 3):
            return int(shape[0])
    return None


def made_of_others(folder: Path, data: "ImageData") -> bool:
    """Whether boxes or masks in `folder`, which note no channels, were made of other pixels than these."""
    for name in ("regions.json", "annotations/regions.json"):
        known = _noted(folder / name, "data")
        if isinstance(known, str):
            return known != data.fingerprint
    return False


def _noted(file: Path, key: str) -> Any:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None  # damage is named where the folder is opened
    if not isinstance(found, dict):
        return None
    settings = found.get("settings")  # where a model folder has its shape
    return found.get(key, settings.get(key) if isinstance(settings, dict) else None)
