"""Files that repeat each other: byte for byte, or to the eye."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import product

import numpy as np

_NEAR_LEVELS = 8


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """A 8 x 9 grey miniature (uint8) of uint8 (C, H, W) pixels, averaged over areas."""
    from PIL import Image

    grey = pixels[0] if len(pixels) == 1 else pixels.mean(axis=0).astype(np.uint8)
    return np.asarray(Image.fromarray(grey).resize((9, 8), Image.Resampling.BOX))


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
        firsts: list[tuple[np.ndarray, list[str]]] = []
        # Firsts by coarse levels of a few cells: pictures alike differ by one level at most in each, so that
        # flat pictures, which all share one order, are not compared with all others.
        near: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i in rows:
            small = thumbnails[i].astype(np.int16)
            level = _levels(small)
            around = product(*((k - 1, k, k + 1) for k in level))
            found = sorted(number for key in around for number in near.get(key, ()))
            for number in found:
                first, members = firsts[number]
                if np.abs(first - small).max() <= _NEAR_LEVELS:
                    members.append(names[i])
                    break
            else:
                near[level].append(len(firsts))
                firsts.append((small, [names[i]]))
        groups += [members for _, members in firsts if len(members) > 1]
    return groups


def _levels(small: np.ndarray) -> tuple[int, ...]:
    """The corner cells and the mean of a miniature, in steps that two pictures alike share but for one."""
    cells = (small[0, 0], small[0, -1], small[-1, 0], small.mean())
    return tuple(int(cell // (_NEAR_LEVELS + 1)) for cell in cells)


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
