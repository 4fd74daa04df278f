"""Euclidean distances and nearest neighbours, in chunks."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

_CELLS = 8_000_000  # entries of one block of the distance matrix: 64 MB in float64


class Neighbours(NamedTuple):
    """Distances (n, k), ascending, and the rows (n, k) of the reference they belong to."""

    distances: Tensor
    indices: Tensor


def squared_distances(rows: Tensor, others: Tensor) -> Tensor:
    """Squared Euclidean distances (n, m) by one matrix product.

    Differences that are rounding of the product (relative to the rows' norms) are set to zero, so that equal
    rows have distance 0. Centre the data first: the smaller the norms, the more digits.
    """
    norms, other_norms = rows.square().sum(1), others.square().sum(1)
    scale = norms.unsqueeze(1) + other_norms
    squared = scale - 2 * rows @ others.T
    noise = 8 * torch.finfo(rows.dtype).eps * scale
    return torch.where(squared <= noise, 0.0, squared)


def compare(rows: Tensor, others: Tensor, squared: Tensor, bounds: Tensor) -> Tensor:
    """The sign of ``squared - bounds`` (n, m): -1 inside, 0 on, 1 outside of a ball.

    Close calls, which the rounding of the product could decide, are made on distances that are computed
    directly, as :func:`nearest` computes radii: a row and its copy are then equally far from everything.

    Args:
        rows, others: (n, D) and (m, D), float64.
        squared: their squared distances.
        bounds: squared radii, of each row (n, 1) or of each other row (m,).
    """
    scale = rows.square().sum(1).unsqueeze(1) + others.square().sum(1)
    margin = 1e-9 * bounds + 16 * torch.finfo(squared.dtype).eps * scale
    gap = squared - bounds
    close = gap.abs() <= margin
    signs = gap.sign()
    for part in close.nonzero().split(1 << 16):
        i, j = part.unbind(1)
        exact = (rows[i] - others[j]).square().sum(1)
        limit = bounds.expand_as(squared)[i, j]
        near = (exact - limit).abs() <= 1e-12 * limit
        signs[i, j] = torch.where(near, 0.0, (exact - limit).sign())
    return signs


def blocks(rows: Tensor, others: Tensor, *, width: int = 1) -> Iterator[tuple[slice, Tensor]]:
    """Squared distances of slices of ``rows`` to all ``others``; memory does not grow with len(rows).

    ``width`` is the number of further values per row that the caller will hold at once.
    """
    step = max(1, _CELLS // max(1, len(others), width))
    for start in range(0, len(rows), step):
        part = slice(start, min(start + step, len(rows)))
        yield part, squared_distances(rows[part], others)


def nearest(rows: Tensor, reference: Tensor, *, k: int = 1, itself: bool = False) -> Neighbours:
    """The ``k`` nearest rows of ``reference`` (m, D) for each row (n, D).

    Candidates come from a matrix product, their distances are then recomputed directly in float64, so that a
    copy has distance exactly 0. ``itself=True`` says that ``rows`` *is* the reference: row i then ignores
    reference row i (but not another row equal to it).
    """
    if rows.ndim != 2 or reference.ndim != 2 or rows.shape[1] != reference.shape[1]:
        raise ValueError(
            f"neighbours need (n, D) and (m, D), got {tuple(rows.shape)} and {tuple(reference.shape)}"
        )
    if itself and rows.shape != reference.shape:
        raise ValueError("itself=True needs the rows to be the reference")
    available = len(reference) - int(itself)
    if not 1 <= k <= available:
        raise ValueError(f"k={k} neighbours asked for, {available} other rows available")
    # The median, which a few rows far away do not move: a mean of 1e7 would cost the others their digits.
    centre = reference.median(0).values
    rows, reference = rows - centre, reference - centre
    spare = min(available, k + 4)
    found, where = [], []
    for part, squared in blocks(rows, reference, width=spare * rows.shape[1]):
        if itself:
            own = torch.arange(part.start, part.stop)
            squared[own - part.start, own] = torch.inf
        candidates = squared.topk(spare, dim=1, largest=False).indices
        gaps = reference[candidates].double() - rows[part].double().unsqueeze(1)
        exact, order = gaps.square().sum(-1).sort(dim=1, stable=True)
        found.append(exact[:, :k].sqrt())
        where.append(candidates.gather(1, order)[:, :k])
    return Neighbours(torch.cat(found), torch.cat(where))


def nearest_of_parts(rows: Tensor, parts: Iterable[Tensor], *, k: int = 1) -> Neighbours:
    """:func:`nearest` to a reference that comes in parts (m_i, D), of which one at a time is in memory.

    Raises:
        ValueError: fewer than ``k`` rows in all the parts, or unfit shapes.
    """
    best, where, seen = torch.empty(len(rows), 0).double(), torch.empty(len(rows), 0, dtype=torch.int64), 0
    for part in parts:
        if not len(part):
            continue
        found = nearest(rows, part, k=min(k, len(part)))
        # Stable: of equal distances the earlier row comes first, as within a part.
        best, order = torch.cat([best, found.distances], dim=1).sort(dim=1, stable=True)
        where = torch.cat([where, found.indices + seen], dim=1).gather(1, order)[:, :k]
        best, seen = best[:, :k], seen + len(part)
    if k < 1 or seen < k:
        raise ValueError(f"k={k} neighbours asked for, {seen} rows available")
    return Neighbours(best, where)
