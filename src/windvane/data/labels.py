"""Labels as a source gives them (ids, texts, nothing) as ids with names."""

import math
import warnings
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

#: Ids from here on are numbers of things, not of classes, where there are fewer pictures than that.
_MANY = 1000


def one_label_each(labels: Any) -> list[Any] | None:
    """Labels of an array as a list, one a picture: rows with a single 1 are classes, other rows are none."""
    given = np.asarray(labels)
    if given.ndim == 2 and given.dtype.kind in "biuf" and given.shape[1] > 1:
        if bool(((given == 0) | (given == 1)).all() and (given.sum(1) == 1).all()):
            return list(given.argmax(1).tolist())
    if given.ndim != 1:
        warnings.warn(f"labels of shape {given.shape} are no classes; none are taken", stacklevel=2)
        return None
    return list(given.tolist())


def to_ids(
    labels: Sequence[int | float | str | None], names: Sequence[str] | None = None
) -> tuple[list[int] | None, list[str] | None]:
    """(ids, names) of labels: -1 where there is none, (None, None) where there are none at all.

    Texts are numbered in alphabetical order, or by their place in `names`; whole numbers are ids already,
    truth values are 0 and 1, named so, and NaN is no label. Whole numbers from 1000 and from the number of
    pictures on (catalogue numbers, say) are numbered in their order, and are the names. Fractions, times and
    lists are no classes: a warning says so, and there are no labels.

    Raises:
        ValueError: for texts outside `names`, ids below -1 or beyond `names`, or texts mixed with numbers.
    """
    labels = [_plain(label) for label in labels]
    unfit = next((one for one in labels if not _is_class(one)), None)
    if unfit is not None:
        shown = f"{unfit:g}" if isinstance(unfit, float) else f"{unfit!s:.40}"
        warnings.warn(f"labels such as {shown} are no classes; none are taken", stacklevel=2)
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
    if names is None and max(ids) >= max(_MANY, len(ids)):
        order = [str(one) for one in sorted(set(ids) - {-1})]
        place = {name: k for k, name in enumerate(order)}
        return [-1 if one == -1 else place[str(one)] for one in ids], order
    return ids, None if names is None else list(names)


def _plain(label: Any) -> Any:
    """A label as Python's own, with None for one that is missing."""
    if isinstance(label, Decimal):
        label = int(label) if label.is_finite() and label == label.to_integral_value() else float(label)
    if isinstance(label, bytes):
        label = label.decode("utf-8", "replace")
    return None if isinstance(label, float) and math.isnan(label) else label


def _is_class(label: Any) -> bool:
    if isinstance(label, float):
        return label.is_integer()
    return label is None or isinstance(label, int | str | np.integer)
