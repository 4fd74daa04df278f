"""Files that repeat each other: byte for byte, or to the eye."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

_NEAR_LEVELS = 8
#: Up to so many pictures of one order are compared each with all others.
_FEW = 256


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """A 8 x 9 grey miniature (uint8) of uint8 (C, H, W) pixels, averaged over areas."""
    from PIL import Image

    # The mean, rounded down.
    grey = pixels[0]
    if len(pixels) > 1:
        total = grey.astype(np.uint16)
        for channel in pixels[1:]:
            total += channel
        grey = (total // len(pixels)).astype(np.uint8)
    image = Image.frombytes("L", grey.shape[::-1], grey.tobytes())
    return np.asarray(image.resize((9, 8), Image.Resampling.BOX))


def exact_groups(names: Sequence[str], digests: Sequence[str]) -> list[list[str]]:
    """Names whose files have the same content hash, in groups of two and more."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, digest in zip(names, digests):
        groups[digest].append(name)
    return [group for group in groups.values() if len(group) > 1]


def near_groups(names: Sequence[str], thumbnails: Sequence[np.ndarray]) -> list[list[str]]:
    """Names whose pictures look alike, in groups of two and more.

    Two pictures look alike when, in their 8 x 9 miniatures, every neighbouring pair of cells is ordered the
    same way (64 bits) and no cell differs by more than 8 of 255 levels from the group's first picture. This
    finds copies that were scaled or compressed again; a crop or a mirror image counts as another picture.
    """
    by_order: dict[bytes, list[int]] = defaultdict(list)
    for i, small in enumerate(thumbnails):
        by_order[np.packbits(small[:, 1:] > small[:, :-1]).tobytes()].append(i)
    groups: list[list[str]] = []
    for rows in by_order.values():
        if len(rows) > 1:
            cells = np.stack([thumbnails[i] for i in rows]).reshape(len(rows), -1)
            groups += [[names[rows[k]] for k in group] for group in _alike(cells)]
    return groups


def _alike(cells: np.ndarray) -> list[np.ndarray]:
    """Rows of uint8 ``(n, D)`` within the limit of the first row of their group, which is not in another.

    A tree finds what is near in every cell: pictures that share one order, such as flat ones, are then not
    compared each with all others.
    """
    near = _tree(cells) if len(cells) > _FEW else _scan(cells)
    free, groups = np.ones(len(cells), dtype=bool), []
    for first in range(len(cells)):
        if free[first]:
            found = near(first)
            members = found[free[found]]
            free[members] = False
            if len(members) > 1:
                groups.append(np.sort(members))
    return groups


def _scan(cells: np.ndarray) -> Callable[[int], np.ndarray]:
    wide = cells.astype(np.int16)
    return lambda row: np.flatnonzero(np.abs(wide - wide[row]).max(axis=1) <= _NEAR_LEVELS)


def _tree(cells: np.ndarray) -> Callable[[int], np.ndarray]:
    from scipy.spatial import KDTree

    tree = KDTree(cells.astype(np.float64))
    reach = _NEAR_LEVELS + 0.5
    return lambda row: np.array(tree.query_ball_point(tree.data[row], reach, p=np.inf), dtype=np.int64)


def together(names: Sequence[str], groups: Sequence[Sequence[str]]) -> np.ndarray:
    """Group number of each name, ``(n,)`` int64, -1 for none; groups that share a name are one."""
    number: dict[str, int] = {}
    merged: dict[int, int] = {}

    def root(k: int) -> int:
        while merged[k] != k:
            k = merged[k]
        return k

    for k, group in enumerate(groups):
        merged[k] = k
        for name in group:
            if name in number:
                merged[root(number[name])] = k
            number[name] = k
    return np.array([root(number[name]) if name in number else -1 for name in names], dtype=np.int64)
