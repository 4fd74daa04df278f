"""Drawing ids for new samples: sample i's id depends on its own seed alone."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from windvane.randomness import generator

Source = Literal["empirical", "uniform"]

#: The stream of condition draws; samplers use 0 and the step numbers, which never come near it.
STREAM_CONDITION = int.from_bytes(b"annotate")


def draw_ids(sizes: Tensor, seeds: Tensor | Sequence[int], source: Source = "empirical") -> Tensor:
    """One id a seed, int64 ``(n,)``.

    "empirical" draws id c with probability sizes[c] / sum(sizes), the training set's own p(k) (Self-Guided
    Diffusion Models, section 4); "uniform" draws all non-empty ids alike. One uniform number a seed is sent
    through the inverse of the cumulative distribution.

    Args:
        sizes: images per id ``(K,)``.
        seeds: one an id.
        source: "empirical" or "uniform".

    Raises:
        ValueError: an unknown source, or no id has an image.
    """
    if source not in ("empirical", "uniform"):
        raise ValueError(f"unknown source {source!r}; known: empirical, uniform")
    weights = sizes.double() if source == "empirical" else (sizes > 0).double()
    if weights.ndim != 1 or not weights.sum() > 0:
        raise ValueError(f"no id has an image: sizes of shape {tuple(sizes.shape)}, sum {float(sizes.sum())}")
    values = seeds.tolist() if isinstance(seeds, Tensor) else list(seeds)
    numbers = torch.empty(len(values), dtype=torch.float64)
    for row, seed in enumerate(values):
        numbers[row] = torch.rand((), generator=generator(seed, STREAM_CONDITION), dtype=torch.float64)
    return inverse_law(weights, numbers)


def inverse_law(weights: Tensor, numbers: Tensor) -> Tensor:
    """Ids ``(n,)`` of the law proportional to ``weights`` ``(K,)`` at numbers ``(n,)`` in [0, 1]."""
    cumulative = weights.cumsum(0)
    # right=True: a number on a border belongs to the next id of positive weight, and 1 to the last of them.
    found = torch.searchsorted(cumulative, numbers * cumulative[-1], right=True)
    return found.clamp(max=int(weights.nonzero()[-1]))
