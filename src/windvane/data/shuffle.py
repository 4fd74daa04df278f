"""Random orders and numbers that stay the same for ever.

NumPy promises the raw bits of PCG64 across versions, but not what its distributions make of them, so a split
made today is a split remade in ten years only if it is built on the raw bits.
"""

import numpy as np


def _bits(n: int, seed: int) -> np.ndarray:
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    return np.random.PCG64(seed).random_raw(n) if n else np.empty(0, dtype=np.uint64)


def permutation(n: int, seed: int) -> np.ndarray:
    """A random order of 0..n-1, shape (n,), int64; the same for the same `seed` on every machine."""
    return np.argsort(_bits(n, seed), kind="stable").astype(np.int64)


def uniforms(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Uniform numbers in [0, 1), float64, of the given shape; the same for one `seed` on every machine."""
    bits = _bits(int(np.prod(shape)), seed)
    return ((bits >> np.uint64(11)) * 2.0**-53).reshape(shape)
