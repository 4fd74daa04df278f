"""How two partitions of the same rows agree, from the table of how many rows share a pair of ids."""

import torch
from torch import Tensor


def contingency(first: Tensor, second: Tensor) -> Tensor:
    """Rows of each pair of ids ``(A, B)``, int64, over the ids that occur in ``(n,)`` and ``(n,)``."""
    kinds, rows = first.unique(return_inverse=True)
    others, columns = second.unique(return_inverse=True)
    cells = torch.bincount(rows * len(others) + columns, minlength=len(kinds) * len(others))
    return cells.reshape(len(kinds), len(others))


def normalised_information(table: Tensor) -> float:
    """Mutual information over the mean of both entropies: 1 for equal partitions, 0 for independent ones.

        I = sum_ab p_ab log p_ab / (p_a p_b),  NMI = 2 I / (H_a + H_b)

    Two partitions of one part each are equal.
    """
    shares = table.double() / table.sum()
    first, second = shares.sum(dim=1), shares.sum(dim=0)
    entropies = float(-(first * first.log()).sum() - (second * second.log()).sum())
    if entropies <= 0:
        return 1.0
    some = shares > 0
    information = float((shares[some] * (shares / torch.outer(first, second))[some].log()).sum())
    return min(1.0, max(0.0, 2 * information / entropies))


def rand_index(table: Tensor) -> float:
    """The Rand index adjusted for chance (Hubert and Arabie 1985): 1 for equal partitions, 0 on average.

    With the pairs of rows that are together in both partitions (t), in the first or the second only (a, b),
    and in neither (n): 2 (t n - a b) / ((t + a)(a + n) + (t + b)(b + n)).
    """
    rows = int(table.sum())
    both = int(table.square().sum())
    first, second = (int(table.sum(dim=axis).square().sum()) for axis in (1, 0))
    together, one, other = both - rows, first - both, second - both
    neither = rows * rows - first - second + both
    if not one and not other:
        return 1.0
    whole = (together + one) * (one + neither) + (together + other) * (other + neither)
    return 2 * (together * neither - one * other) / whole
