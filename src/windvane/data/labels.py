"""Labels as a source gives them (ids, texts, nothing) as ids with names."""

import math
import warnings
from collections.abc import Sequence

import numpy as np


def to_ids(
    labels: Sequence[int | float | str | None], names: Sequence[str] | None = None
) -> tuple[list[int] | None, list[str] | None]:
    """(ids, names) of labels: -1 where there is none, (None, None) where there are none at all.

    Texts are numbered in alphabetical order, or by their place in `names`; whole numbers are ids already,
    truth values are 0 and 1, named so, and NaN is no label. Fractions are no classes: a warning says so, and
    there are no labels.

    Raises:
        ValueError: for texts outside `names`, ids below -1 or beyond `names`, or texts mixed with numbers.
    """
    labels = [None if isinstance(label, float) and math.isnan(label) else label for label in labels]
    fraction = next((one for one in labels if isinstance(one, float) and not one.is_integer()), None)
    if fraction is not None:
        warnings.warn(f"labels such as {fraction:g} are no classes; none are taken", stacklevel=2)
        return None, None
    if names is None and any(isinstance(label, bool) for label in labels):
        names = ["false", "true"]
    texts = {label for label in labels if isinstance(label, str)}
    if texts and any(isinstance(label, int | float | np.integer) for label in labels):
        raise ValueError(f"labels mix texts (such as {sorted(texts)[0]!r}) and numbers")
    if texts:
        order = list(names) if names is not None else sorted(texts)
        unknown = sorted(texts - set(order))
        if unknown:
            raise ValueError(f"labels {unknown[:5]} are not among the class names {order[:20]}")
        place = {name: k for k, name in enumerate(order)}
        return [place[label] if isinstance(label, str) else -1 for label in labels], order
    ids = [-1 if label is None else int(label) for label in labels]
    if not ids or max(ids) == -1 == min(ids):
        return None, None
    if min(ids) < -1 or (names is not None and max(ids) >= len(names)):
        among = "" if names is None else f" with {len(names)} class names"
        raise ValueError(f"labels must be -1 (none) or class ids{among}, got {min(ids)} to {max(ids)}")
    return ids, None if names is None else list(names)
