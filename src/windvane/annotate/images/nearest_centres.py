"""The nearest of some centres: one pass in float32, and close calls once more in float64."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: Scores held at a time.
_SCORES = 2_000_000
#: Unit roundoff of float32.
_UNIT = 2.0**-24


@dataclass(frozen=True)
class Nearest:
    """The two nearest centres of every row.

    Attributes:
        ids: the nearest, int64 ``(n,)``; ties go to the lower id.
        seconds: the next one, int64 ``(n,)``; the same as ``ids`` where there is one centre only.
        ties: whether any row has two equally near centres, up to rounding in float64.
        scores: of both, ``(n, 2)``, float32.
        centres: ``(k, D)``.
    """

    ids: Tensor
    seconds: Tensor
    ties: bool
    scores: Tensor
    centres: Tensor


def nearest(rows: Tensor, centres: Tensor, before: Nearest | None = None) -> Nearest:
    """The nearest of the centres ``(k, D)`` to each row ``(n, D)``, by the Euclidean distance in float64.

    Scores s_c = x·m_c - |m_c|²/2 are computed in float32. A sum of D products is off by at most
    (D + 1)·2⁻²⁴·|x||m| there, so that rows whose two best scores lie further apart than twice that bound are
    settled, and the others, about one in a hundred, are scored once more in float64. The batch, the number
    of threads and the library below thus play no part.

    Args:
        rows: float32.
        centres: float32.
        before: the same of the same rows and other centres: rows whose two nearest have stayed since are
            compared with those centres only that have not.
    """
    n, k = len(rows), len(centres)
    ids, seconds = torch.zeros(n, dtype=torch.int64), torch.zeros(n, dtype=torch.int64)
    scores = torch.zeros(n, 2)
    if k < 2 or not n:
        return Nearest(ids, seconds, False, scores, centres.clone())
    scan = _Scan(rows.contiguous(), centres)
    doubtful = []
    everyone = torch.arange(n)
    if before is None or scan.shift is not None:
        doubtful += scan.over(everyone, None, ids, seconds, scores)
    else:
        other = (before.centres != centres).any(dim=1)
        touched = other[before.ids] | other[before.seconds]
        ids, seconds, scores = before.ids.clone(), before.seconds.clone(), before.scores.clone()
        doubtful += scan.over(everyone[touched], None, ids, seconds, scores)
        some = torch.nonzero(other)[:, 0]
        doubtful += scan.over(everyone[~touched], some, ids, seconds, scores)
    ties = _settle(rows, centres, torch.cat(doubtful), ids, seconds)
    return Nearest(ids, seconds, ties, scores, centres.clone())


class _Scan:
    """Scores of some rows at some centres, a few at a time."""

    def __init__(self, rows: Tensor, centres: Tensor) -> None:
        self.rows, self.shift = rows, far_mean(centres)
        self.centres = centres if self.shift is None else centres - self.shift
        self.half = self.centres.square().sum(dim=1) * -0.5
        self.longest = float(self.centres.norm(dim=1).max())

    def over(
        self, which: Tensor, columns: Tensor | None, ids: Tensor, seconds: Tensor, scores: Tensor
    ) -> list[Tensor]:
        """Write the two best of the rows ``which`` at the centres ``columns`` (None: all), or, of given ones,
        the two best of those and of what is written there; returns the rows that are too close to call."""
        half = self.half if columns is None else self.half[columns]
        turned = (self.centres if columns is None else self.centres[columns]).T.contiguous()
        size = max(1, min(len(which), max(64, _SCORES // max(1, len(half)))))
        space = torch.empty(size, len(half))
        whole = len(which) == len(self.rows)
        doubtful = []
        for at in which.split(size):
            part = self.rows[int(at[0]) : int(at[-1]) + 1] if whole and len(at) else self.rows[at]
            part = part if self.shift is None else part - self.shift
            # numpy finds the largest of a row six times as fast as torch does.
            values = torch.addmm(half, part, turned, out=space[: len(part)]).numpy()
            best = (
                _two_best(values) if columns is None else _merged(values, columns, at, ids, seconds, scores)
            )
            ids[at], seconds[at], scores[at] = best
            gap = scores[at, 0] - scores[at, 1]
            # Written so that a score that is not a number is doubtful, too.
            doubtful.append(at[~(gap > _limits(part, self.longest))])
        return doubtful


def far_mean(points: Tensor) -> Tensor | None:
    """The mean of points ``(n, D)``, float32, where all lie far from zero, and None elsewhere.

    There their differences drown in the rounding of float32 unless it is subtracted.
    """
    mean = points.mean(dim=0, dtype=torch.float64).float()
    spread = (points[:: max(1, len(points) // 4096)] - mean).double().square().sum(dim=1).max()
    return mean if mean.double().square().sum() > 4 * spread else None


def _limits(part: Tensor, longest: float) -> Tensor:
    """By how much two scores of a row may differ through rounding alone."""
    unit = 2 * (part.shape[1] + 8) * _UNIT
    return unit * longest * (part.norm(dim=1) + longest / 2)


def _two_best(values: "np.ndarray[Any, Any]") -> tuple[Tensor, Tensor, Tensor]:
    """Columns of the two largest of each row, and these; ``values`` are used up."""
    every = np.arange(len(values))
    first = values.argmax(axis=1)
    best = values[every, first]
    values[every, first] = -np.inf
    second = values.argmax(axis=1)
    pair = torch.from_numpy(np.stack([best, values[every, second]], axis=1))
    return torch.from_numpy(first), torch.from_numpy(second), pair


def _merged(
    values: "np.ndarray[Any, Any]", columns: Tensor, at: Tensor, ids: Tensor, seconds: Tensor, scores: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The two best of what the rows had and of ``values`` at other centres."""
    if not values.shape[1]:
        return ids[at], seconds[at], scores[at]
    first, second, pair = _two_best(values)
    if values.shape[1] == 1:
        pair[:, 1] = -torch.inf
    names = torch.stack([ids[at], seconds[at], columns[first], columns[second]], dim=1)
    order = torch.cat([scores[at], pair], dim=1).topk(2, dim=1)
    names = names.gather(1, order.indices)
    return names[:, 0], names[:, 1], order.values


def _settle(rows: Tensor, centres: Tensor, again: Tensor, ids: Tensor, seconds: Tensor) -> bool:
    """Decide the rows ``again`` in float64, in place; returns whether any is a tie."""
    wide = centres.double()
    offset = wide.square().sum(dim=1)
    longest, unit = float(offset.max().sqrt()), 4 * (rows.shape[1] + 8) * _UNIT**2
    ties = False
    for part in again.split(max(64, _SCORES // len(centres))):
        values = rows[part].double()
        distances = offset - 2 * values @ wide.T
        limit = distances.amin(dim=1) + unit * longest * (values.norm(dim=1) + longest)
        near = distances <= limit[:, None]
        ties = ties or bool((near.sum(dim=1) > 1).any())
        ids[part] = near.to(torch.uint8).argmax(dim=1)
        distances.scatter_(1, ids[part][:, None], torch.inf)
        seconds[part] = distances.argmin(dim=1)
    return ties
