"""Whether the folders of a collection are classes, or albums, years and the like."""

import re
from collections import Counter

#: A year or a date anywhere in the name, a camera's own folder, or what collections are called.
_NO_CLASS = re.compile(
    r"(?<!\d)(19|20)\d\d(?!\d)|(?<!\d)(19|20)\d{6}(?!\d)|(?<!\d)\d{1,2}[-._]\d{1,2}[-._]\d{2,4}(?!\d)"
    r"|^\d{3}[a-z_]{5}$|^dcim|album|holiday|vacation|^trip\b|\btrip$|^(misc|unsorted|backup|export)s?$",
    re.IGNORECASE,
)
_DATES_FROM = 1 / 3
_LEAST_IMAGES, _MANY = 2, 5


def folder_labels(names: list[str]) -> tuple[list[int] | None, list[str] | None]:
    """Ids and names of the top-level folders of relative names; (None, None) for fewer than two folders."""
    tops = _tops(names)
    classes = sorted({top for top in tops if top is not None})
    if len(classes) < 2:
        return None, None
    ids = {name: k for k, name in enumerate(classes)}
    return [-1 if top is None else ids[top] for top in tops], classes


def why_no_classes(names: list[str]) -> str | None:
    """Why the top-level folders of relative names do not look like classes; None if they do.

    They do where fewer than a third of their names have a year, a date, or a word such as "album" or "DCIM"
    in them, at least a quarter of the images lie in one, and of five folders or more half hold several.
    """
    tops = _tops(names)
    counts = Counter(top for top in tops if top is not None)
    dated = sorted(name for name in counts if _NO_CLASS.search(name))
    if dated and len(dated) >= _DATES_FROM * len(counts):
        return f"{', '.join(dated[:3])} read like dates or albums"
    if len(counts) >= _MANY and sorted(counts.values())[len(counts) // 2] < _LEAST_IMAGES:
        return "most hold a single image"
    if 4 * sum(counts.values()) < len(names):
        return "most images lie in none of them"
    return None


def _tops(names: list[str]) -> list[str | None]:
    return [name.split("/")[0] if "/" in name else None for name in names]
