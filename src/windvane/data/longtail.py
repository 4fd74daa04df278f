"""How many rows of each class a long-tailed copy of a labelled data set keeps."""

import numpy as np


def longtail_counts(available: np.ndarray, ratio: float, kind: str = "exponential") -> np.ndarray:
    """Rows to keep per class, shape (K,), int64, falling from the first class to the last.

    With u = k / (K - 1) for class k:

        exponential   n_k = s * ratio^(-u)
        linear        n_k = s * (1 - (1 - 1 / ratio) * u)

    rounded down, at least 1. The largest class is `ratio` times the smallest; s is the largest scale at which
    every class has enough rows, so for K equally large classes the first one is kept whole.

    Args:
        available: rows that exist per class, shape (K,), all positive.
        ratio: largest class over smallest class, at least 1.
        kind: "exponential" or "linear".

    Raises:
        ValueError: if `ratio` is below 1, `kind` is unknown, or a class is empty.
    """
    available = np.asarray(available, dtype=np.int64)
    if not ratio >= 1 or not np.isfinite(ratio):
        raise ValueError(f"ratio is the largest class over the smallest, at least 1, got {ratio}")
    if len(available) == 0 or available.min() < 1:
        raise ValueError(
            f"a long tail needs at least one row of every class, got counts {available.tolist()}"
        )
    u = np.arange(len(available)) / max(len(available) - 1, 1)
    if kind == "exponential":
        profile = ratio**-u
    elif kind == "linear":
        profile = 1 - (1 - 1 / ratio) * u
    else:
        raise ValueError(f'kind must be "exponential" or "linear", got {kind!r}')
    scale = float(np.min(available / profile))
    # The small addition keeps 5.999999999 from becoming 5 where the exact product is 6.
    return np.maximum(np.floor(scale * profile + 1e-9), 1).astype(np.int64)
