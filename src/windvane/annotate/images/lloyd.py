"""k-means for many vectors: Lloyd's rounds, first on a part, with misplaced centres moved."""

import numpy as np
import torch
from torch import Tensor

from windvane.annotate.images.nearest_centres import Nearest, far_mean, nearest

#: Vectors a cluster that centres are learnt from, as faiss has it, and how many at least.
_EACH, _LEAST = 256, 65_536
#: The first rounds see one vector in so many, and at least so many a cluster.
_PART, _PART_EACH = 4, 8
#: Share of the rounds that see a part only; how many rounds on the part, and then on all, may move centres.
_EARLY, _MOVES = 0.4, (6, 3)
#: Rounds of either kind end where the sum of squares falls by less than this share.
_TOLERANCE = 1e-3, 1.5e-4


def lloyd(
    rows: Tensor, k: int, *, restarts: int, iterations: int, generator: torch.Generator
) -> tuple[Tensor, Nearest | None]:
    """Centres ``(k, D)``, float32, of the rows ``(n, D)`` by Lloyd's algorithm from rows drawn at random.

    In the first rounds, on a part of the rows, a centre that could be spared moves to where a cluster falls
    into two: removing centre a costs sum_i |x_i - m_b|² - |x_i - m_a|² over its rows, with b the next nearest
    centre, and splitting a cluster gains n₁n₂/(n₁+n₂)·|m₁ - m₂|²; centres move while the gain is the larger.
    Random starts leave groups without a centre that no number of rounds of Lloyd finds. Of more than 256 rows
    a cluster as many are drawn to learn from (65,536 at least).

    Args:
        rows: float32, finite.
        k: at most n.
        restarts: starts, of which the one with the lowest sum of squares is kept.
        iterations: rounds, two fifths of them on the part.
        generator: of the draws; nothing else decides, neither the number of threads nor what is installed.

    Returns:
        The centres, and the nearest of the centres of the round before, which make the next search shorter.
    """
    best: tuple[float, Tensor, Nearest] | None = None
    # Sums of squares are differences of large numbers where the rows lie far from zero.
    shift = far_mean(rows)
    rows = rows if shift is None else rows - shift
    most = max(_EACH * k, _LEAST)
    for _ in range(restarts):
        order = torch.randperm(len(rows), generator=generator)
        learnt = rows[order[:most]] if len(rows) > most else rows
        part = rows[order[: max(len(learnt) // _PART, _PART_EACH * k)]]
        early = int(_EARLY * iterations) if len(part) < len(learnt) else 0
        centres = part[:k].clone()
        if early:
            centres, _, _ = _rounds(part, centres, early, _MOVES[0], _TOLERANCE[0])
        result = _rounds(learnt, centres, iterations - early, _MOVES[1], _TOLERANCE[1])
        if best is None or result[1] < best[0]:
            best = result[1], result[0], result[2]
    assert best is not None
    if shift is not None:
        return best[1] + shift, None
    return best[1], best[2] if len(rows) <= most else None


def _rounds(
    rows: Tensor, centres: Tensor, count: int, moves: int, tolerance: float
) -> tuple[Tensor, float, Nearest]:
    """Centres after at most ``count`` rounds, the sum of squares before, and the last search."""
    k, last, turn = len(centres), torch.inf, 0
    total = sum(float(part.double().square().sum()) for part in rows.split(4096))
    found = None
    while True:
        found = nearest(rows, centres, found)
        centres, sizes, explained = means(rows, found.ids, centres)
        inertia, turn = total - explained, turn + 1
        empty = bool((sizes == 0).any())
        if turn >= count and not empty:
            return centres, inertia, found
        moved = 0
        if turn <= moves:
            centres, moved = relocated(rows, found, centres, sizes)
            moves = moves if moved else 0
        if empty and not moved:
            # Every centre has a row in the end, as far as there are as many different rows.
            centres, moved = refilled(rows, found.ids, centres, sizes)
            if not moved or turn > count + 100:
                return centres, inertia, found
        elif 100 * moved <= k and last - inertia <= tolerance * abs(last) and turn > 1 and not empty:
            return centres, inertia, found
        last = inertia


def means(rows: Tensor, ids: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, float]:
    """The means ``(k, D)`` of the rows of each id, how many rows each has, and sum_c n_c |mean_c|².

    A centre without rows stays where it is. The sums do not depend on the number of threads.
    """
    k = len(centres)
    sizes = torch.bincount(ids, minlength=k)
    sums = torch.zeros(k, rows.shape[1]).index_add_(0, ids, rows)
    some = sizes > 0
    made = torch.where(some[:, None], sums / sizes.clamp(min=1)[:, None], centres)
    return made, sizes, float((made[some].double().square().sum(dim=1) * sizes[some]).sum())


def relocated(rows: Tensor, found: Nearest, centres: Tensor, sizes: Tensor) -> tuple[Tensor, int]:
    """Centres with those moved that save least to where another one gains most, and how many were moved."""
    k = len(centres)
    costs = np.bincount(found.ids.numpy(), weights=_spared(rows, found, centres).numpy(), minlength=k)
    gains, one, other = _halves(rows, found.ids, centres, sizes)
    following = np.full(k, -1, dtype=np.int64)
    following[found.ids.numpy()] = found.seconds.numpy()
    made, moved, used, taken = centres.clone(), 0, set[int](), 0
    splits = np.argsort(-gains.numpy(), kind="stable")
    for spare in np.argsort(costs, kind="stable"):
        heir = int(following[spare])
        if int(spare) in used or heir in used:
            continue
        while taken < k and int(splits[taken]) in used:
            taken += 1
        if taken == k or gains[splits[taken]] <= costs[spare]:
            break
        split = int(splits[taken])
        if split in (int(spare), heir):
            continue
        # The costs of a centre hold as long as those next to it stay.
        used.update((int(spare), split) if heir < 0 else (int(spare), split, heir))
        made[split], made[int(spare)] = one[split], other[split]
        moved += 1
    return made, moved


def _spared(rows: Tensor, found: Nearest, centres: Tensor) -> Tensor:
    """|x - m_b|² - |x - m_a|² of each row, a the nearest centre and b the next, at least 0."""
    squares = centres.square().sum(dim=1)
    costs = torch.empty(len(rows), dtype=torch.float64)
    for at in torch.arange(len(rows)).split(4096):
        a, b = found.ids[at], found.seconds[at]
        along = (rows[at] * (centres[a] - centres[b])).sum(dim=1)
        costs[at] = (squares[b] - squares[a] + 2 * along).double().clamp(min=0)
    return costs


def _halves(rows: Tensor, ids: Tensor, centres: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each cluster in two: what the sum of squares gains, and the two means ``(k, D)``.

    Two rounds of 2-means inside every cluster at once, from its mean and the row furthest from it.
    """
    one, other = centres, centres.clone()
    distances = torch.empty(len(rows))
    for at in torch.arange(len(rows)).split(4096):
        distances[at] = (rows[at] - centres[ids[at]]).square().sum(dim=1)
    order = torch.from_numpy(np.lexsort((distances.numpy(), ids.numpy())))
    ends = sizes.cumsum(dim=0) - 1
    some = sizes > 1
    other[some] = rows[order[ends[some]]]
    counts = sizes.new_zeros(2 * len(centres))
    for _ in range(2):
        way = other - one
        middle = (other.square().sum(dim=1) - one.square().sum(dim=1)) / 2
        side = torch.empty(len(rows), dtype=torch.int64)
        for at in torch.arange(len(rows)).split(4096):
            own = ids[at]
            side[at] = ((rows[at] * way[own]).sum(dim=1) > middle[own]).long()
        both, counts, _ = means(rows, 2 * ids + side, torch.stack([one, other], dim=1).flatten(0, 1))
        one, other = both[0::2], both[1::2]
    first, second = counts[0::2].double(), counts[1::2].double()
    gains = first * second / (first + second).clamp(min=1) * (one - other).double().square().sum(dim=1)
    return gains, one, other


def refilled(rows: Tensor, ids: Tensor, centres: Tensor, sizes: Tensor) -> tuple[Tensor, int]:
    """Centres without rows put on the rows furthest from theirs, each another; and how many were."""
    distances = (rows.double() - centres.double()[ids]).square().sum(dim=1)
    empty = torch.nonzero(sizes == 0)[:, 0].tolist()
    made, seen, moved = centres.clone(), set[bytes](), 0
    for row in distances.argsort(descending=True, stable=True).tolist():
        if moved == len(empty) or float(distances[row]) <= 0:
            break
        key = rows[row].numpy().tobytes()
        if key not in seen:
            seen.add(key)
            made[empty[moved]] = rows[row]
            moved += 1
    return made, moved
