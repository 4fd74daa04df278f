"""Did you mean: the nearest valid name, and all of them."""

from collections.abc import Iterable
from difflib import get_close_matches


def suggestion(given: str, valid: Iterable[str]) -> str:
    """`; did you mean 'x'? valid: x, y, z` for an unknown name."""
    names = list(valid)
    near = get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return f"{hint} valid: {', '.join(names)}"


def listed(items: list[str], most: int = 3) -> str:
    """The first `most` items, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
