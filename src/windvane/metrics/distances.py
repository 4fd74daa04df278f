"""Euclidean distances and nearest neighbours, in chunks."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

_FLOAT32_FITS = 1e12  # below this, squares and their sums are finite in float32
_CELLS = 8_000_000  # entries of one block of the distance matrix: 64 MB in float64
_PRODUCT_ROWS = 512  # of one product with all of the reference
_ROWS = 256  # of one block where several passes go over it: it then stays in the processor's cache
_CACHED = 1 << 16  # differences at once: 512 KiB in float64
_GROUP = 20  # columns at most of which only the smallest is looked at in the search for the nearest rows


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


def tolerance(width: int, dtype: torch.dtype) -> float:
    """Rounding of squared distances from a product of rows (n, width), over the sum of both squared norms."""
    return (16 + 2 * width**0.5) * torch.finfo(dtype).eps


def screened(rows: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """The rows in float32, or in float64 where their squares do not fit: for a first look at distances."""
    kind = torch.float32 if _fits(rows, others) else torch.float64
    return rows.to(kind), others.to(kind)


def _fits(*rows: Tensor) -> bool:
    """Whether float32 holds the squares of all numbers."""
    return max(float(bound.abs()) for x in rows for bound in x.aminmax()) < _FLOAT32_FITS


def middle(rows: Tensor) -> Tensor:
    """About the median (D,), which a few far rows do not move; a mean of 1e7 costs others their digits."""
    return rows[:: max(1, len(rows) // 256)].median(0).values


def compare(rows: Tensor, others: Tensor, squared: Tensor, bounds: Tensor) -> Tensor:
    """The sign of ``squared - bounds`` (n, m): -1 inside, 0 on, 1 outside of a ball.

    Close calls, which the rounding of the product could decide, are made on distances that are computed
    directly, as :func:`nearest` computes radii: a row and its copy are then equally far from everything.

    Args:
        rows, others: (n, D) and (m, D), float64.
        squared: their squared distances, float64 or float32.
        bounds: squared radii, of each row (n, 1) or of each other row (m,).
    """
    kind, relative = squared.dtype, tolerance(rows.shape[1], squared.dtype)
    rounding = tolerance(rows.shape[1], torch.float64)  # of the same sum, taken in another order
    norms, other_norms = rows.square().sum(1).unsqueeze(1), others.square().sum(1)
    # What goes with a row and what goes with a column are added up before they meet the whole matrix.
    sides = [relative * norms, relative * other_norms]
    sides[0 if bounds.ndim == 2 else 1] += (relative + 1e-9) * bounds
    gap = squared - bounds.to(kind)
    close = (gap.abs() <= sides[0].to(kind) + sides[1].to(kind)).nonzero()
    if kind != torch.float64 and len(close) > squared.numel() // 64:
        return compare(rows, others, squared_distances(rows, others), bounds)
    signs = gap.sign_()
    for part in close.split(max(1, (1 << 22) // rows.shape[1])):
        i, j = part.unbind(1)
        exact = (rows[i] - others[j]).square().sum(1)
        limit = bounds.expand_as(squared)[i, j]
        near = (exact - limit).abs() <= rounding * limit
        signs[i, j] = torch.where(near, 0.0, (exact - limit).sign()).to(kind)
    return signs


def blocks(rows: Tensor, others: Tensor, *, width: int = 1) -> Iterator[tuple[slice, Tensor]]:
    """Squared distances of slices of ``rows`` to all ``others``; memory does not grow with len(rows).

    ``width`` is the number of further values per row that the caller will hold at once.
    """
    step = max(1, min(_ROWS, _CELLS // max(1, len(others), width)))
    for start in range(0, len(rows), step):
        part = slice(start, min(start + step, len(rows)))
        yield part, squared_distances(rows[part], others)


@torch.no_grad()
def nearest(rows: Tensor, reference: Tensor, *, k: int = 1, itself: bool = False) -> Neighbours:
    """The ``k`` nearest rows of ``reference`` (m, D) for each row (n, D).

    Candidates come from a matrix product in float32, their distances are then recomputed directly in float64,
    so that a copy has distance exactly 0. Where the rounding of the product could have left out a nearer row,
    the product is made again in float64, and where that does not decide either (a group of rows far closer to
    each other than to the others), all distances of the row are computed directly. ``itself=True`` says that
    ``rows`` *is* the reference: row i then ignores reference row i (but not another row equal to it).
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
    own = torch.arange(len(rows), device=rows.device) if itself else None
    first, first_at = _first_look(rows, reference)
    distances, indices, sure = _nearest(rows, reference, first, first_at, k, own)
    if not sure.all():
        again, centre = (~sure).nonzero().squeeze(1), middle(reference)
        ours = None if own is None else own[again]
        looked, looked_at = rows[again].double() - centre, reference.double() - centre
        distances[again], indices[again], sure = _nearest(rows[again], reference, looked, looked_at, k, ours)
        for row in again[~sure].tolist():
            gaps = (reference.double() - rows[row].double()).square().sum(1)
            if own is not None:
                gaps[row] = torch.inf
            exact, order = gaps.sort(stable=True)
            distances[row], indices[row] = exact[:k].sqrt(), order[:k]
    return Neighbours(distances, indices)


def _first_look(rows: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and reference about the middle, in float32 where they fit.

    A difference of two float32 numbers is rounded once, in float32 as well as by way of float64.
    """
    centre = middle(reference)
    if rows.dtype == reference.dtype == torch.float32:
        looked, looked_at = rows - centre, reference - centre
        if _fits(looked, looked_at):
            return looked, looked_at
    return screened(rows.double() - centre, reference.double() - centre)


def _nearest(
    rows: Tensor, reference: Tensor, looked: Tensor, looked_at: Tensor, k: int, own: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Distances and indices (n, k), and whether no row that was left out can be nearer (n,).

    Args:
        looked, looked_at: the rows and the reference as they are multiplied, the middle taken off.
        own: the row of the reference that each row ignores.
    """
    available = len(reference) - int(own is not None)
    spare = min(available, k + (2 if looked.dtype == torch.float32 else 4))
    # In float64 equal distances, as of integers, are left alone: no row that counts is hidden among them.
    close = 0.0 if looked.dtype == torch.float32 else 1e-9
    # Bounds from below: with the norms lessened by all that rounding can add.
    less = 1 - tolerance(rows.shape[1], looked.dtype)
    norms, other_norms = (less * x.square().sum(1) for x in (looked, looked_at))
    grouped = len(reference) > 4 * _GROUP * spare
    group = max(5, min(_GROUP, len(reference) // (64 * spare)))  # torch picks a 64th of a row quickly
    if grouped and len(reference) % group:
        extra = group - len(reference) % group
        looked_at = torch.nn.functional.pad(looked_at, (0, 0, 0, extra))
        other_norms = torch.nn.functional.pad(other_norms, (0, extra), value=torch.inf)
    step = max(1, min(_PRODUCT_ROWS, _CELLS // max(len(looked_at), spare * rows.shape[1])))
    found = []
    # One block of memory for all products: the system hands out new pages more slowly than they are filled.
    block = looked.new_empty(min(step, len(rows)), len(looked_at))
    for start in range(0, len(rows), step):
        part = slice(start, min(start + step, len(rows)))
        bounds = torch.addmm(other_norms, looked[part], looked_at.T, alpha=-2, out=block[: part.stop - start])
        if own is not None:
            bounds.scatter_(1, own[part].unsqueeze(1), torch.inf)
        floor, candidates = _smallest(bounds, spare, group) if grouped else bounds.topk(spare, largest=False)
        candidates = candidates.sort(1).values  # of equal distances the earlier row comes first
        exact, order = _exactly(rows[part], reference, candidates).sort(dim=1, stable=True)
        least = floor[:, -1].double() + norms[part]  # of all that was left out
        sure = exact[:, k - 1] * (1 - close) <= least.clamp_min(0)
        found.append((exact[:, :k].sqrt(), candidates.gather(1, order)[:, :k], sure | (spare == available)))
    distances, indices, sure = (torch.cat(parts) for parts in zip(*found))
    return distances, indices, sure


def _exactly(rows: Tensor, reference: Tensor, candidates: Tensor) -> Tensor:
    """Squared distances (n, s) of rows to their candidates (n, s), float64, a cacheful at a time."""
    size = max(1, _CACHED // (candidates.shape[1] * rows.shape[1]))
    found = []
    for some, chosen in zip(rows.split(size), candidates.split(size)):
        gaps = reference[chosen].double()
        gaps -= some.unsqueeze(1)
        found.append(gaps.square_().sum(-1))
    return torch.cat(found)


def _smallest(values: Tensor, count: int, group: int) -> tuple[Tensor, Tensor]:
    """The ``count`` smallest of each row, ascending, and their columns: they lie in the smallest groups."""
    groups = values.shape[1] // group
    first = values.view(len(values), group, groups).amin(1).topk(count, largest=False).indices
    columns = (first.unsqueeze(2) + groups * torch.arange(group, device=values.device)).flatten(1)
    smallest, order = values.gather(1, columns).topk(count, largest=False)
    return smallest, columns.gather(1, order)


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
