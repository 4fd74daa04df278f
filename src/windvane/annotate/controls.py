"""Controls: conditions that carry less than self-labels do, to show where a gain comes from.

All map ids to ids and depend on their seed alone (Self-Guided Diffusion Models, arXiv 2210.06462).
"""

import torch
from torch import Tensor

from windvane.annotate.clusters import checked_ids
from windvane.randomness import generator


def random_ids(ids: Tensor, *, seed: int) -> Tensor:
    """The same ids dealt to other images at random: equal sizes, no information. ``(n,)`` to ``(n,)``."""
    return ids[torch.randperm(len(ids), generator=generator(seed, 1))]


def noisy_ids(ids: Tensor, *, ratio: float, k: int, seed: int) -> Tensor:
    """Label noise: round(ratio n) ids, chosen at random, become one of the other k - 1, uniformly.

    Args:
        ids: ``(n,)`` in 0..k-1.
        ratio: the share of wrong ids, in [0, 1].
        k: the number of ids.
        seed: of the choice.
    """
    ids = checked_ids(ids, k)
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio must lie in [0, 1], got {ratio}")
    if k < 2 and ratio > 0:
        raise ValueError(f"label noise needs at least two ids to choose from, got k={k}")
    numbers = generator(seed, 2)
    chosen = torch.randperm(len(ids), generator=numbers)[: round(ratio * len(ids))]
    noisy = ids.clone()
    if len(chosen):
        noisy[chosen] = (ids[chosen] + torch.randint(1, k, (len(chosen),), generator=numbers)) % k
    return noisy


def split_ids(ids: Tensor, *, parts: int, seed: int) -> Tensor:
    """Each id split at random into ``parts`` groups of (nearly) equal size: id * parts + group.

    As many conditions as parts times the classes, and no more information than the classes.

    Args:
        ids: ``(n,)``, not negative.
        parts: groups a class.
        seed: of the dealing.
    """
    if parts < 1:
        raise ValueError(f"parts must be at least 1, got {parts}")
    checked_ids(ids, int(ids.max()) + 1 if len(ids) else 1)
    numbers = generator(seed, 3)
    groups = torch.empty_like(ids)
    for value in torch.unique(ids).tolist():
        members = (ids == value).nonzero()[:, 0]
        order = torch.randperm(len(members), generator=numbers)
        groups[members[order]] = torch.arange(len(members)) % parts
    return ids * parts + groups
