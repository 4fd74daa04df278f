"""Do boxes and masks come back, from changed images and from other seeds? What their page calls stability."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from windvane.annotate.features.extractor import Images
from windvane.annotate.images.robustness import CHANGES, Change, ChangedImages, shifts
from windvane.annotate.regions.region_annotation import RegionAnnotation
from windvane.randomness import generator

#: Boxes or masks of any images by frozen features, such as ``partial(find_boxes, extractor=dense)``.
Find = Callable[[Images], RegionAnnotation]
#: No pixel of the image, or one that the change has moved out of it.
_UNSEEN = -1


def region_stability(
    find: Find,
    data: Images,
    *,
    refits: Mapping[int, Find] | None = None,
    seed_used: int = 0,
    changes: Sequence[Change] = CHANGES,
    most: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """Boxes or masks of slightly changed images, moved back, beside those of the images themselves.

    Of boxes, ``iou`` is the mean over the images of intersection over union of what is inside of any box, and
    ``kept`` the share of images where it is at least 0.5. Of masks, ``iou`` is the mean over the ids of
    intersection over union in all images together, and ``kept`` the share of pixels with the same id. Pixels
    that a shift has moved out of the picture do not count.

    Args:
        find: what made the boxes or masks.
        data: the images.
        refits: the same, learnt anew from other seeds; ids of masks are matched by most pixels first.
        seed_used: the seed that ``find`` was learnt from, to be named beside those of ``refits``.
        changes: which, see :func:`windvane.annotate.images.robustness.changed`.
        most: images looked at, chosen by ``seed``.
        seed: of the choice, of shifts and of noise.

    Returns:
        ``{"kind", "images": m, "changes": {change: {"iou", "kept"}}, "seeds": {"seeds", "iou", "kept",
        "iou_lowest"}}``: of seeds the mean over all pairs and the lowest, only where there are refits.

    Raises:
        ValueError: no images.
    """
    count = min(len(data), most)
    if count < 1:
        raise ValueError("stability needs images, got none")
    rows = torch.randperm(len(data), generator=generator(seed, 13))[:count].sort().values
    base = find(ChangedImages(data, rows, None))
    told: dict[str, Any] = {"kind": base.kind, "images": count, "changes": {}}
    for change in changes:
        moved = find(ChangedImages(data, rows, change, seed=seed)).maps()
        told["changes"][change] = _compared(base.maps(), _back(moved, change, rows.tolist(), seed), base)
    if refits:
        found = [base, *(refit(ChangedImages(data, rows, None)) for refit in refits.values())]
        pairs = [_compared(a.maps(), _matched(a, b), a) for a, b in combinations(found, 2)]
        told["seeds"] = {
            "seeds": [seed_used, *refits],
            "iou": sum(pair["iou"] for pair in pairs) / len(pairs),
            "kept": sum(pair["kept"] for pair in pairs) / len(pairs),
            "iou_lowest": min(pair["iou"] for pair in pairs),
        }
    return told


def _back(maps: Tensor, change: Change, rows: Sequence[int], seed: int) -> Tensor:
    """Maps of changed images where their pixels were before; ``_UNSEEN`` where they cannot be known."""
    if change == "mirrored":
        return maps.flip(-1)
    if change != "shifted":
        return maps
    height, width = maps.shape[-2:]
    out = torch.full_like(maps, _UNSEEN)
    for i, (down, across) in enumerate(shifts(rows, (height, width), seed=seed)):
        # Pixel (y, x) of the changed image shows the one at (y + down, x + across).
        to = (slice(max(down, 0), height + min(down, 0)), slice(max(across, 0), width + min(across, 0)))
        of = (slice(max(-down, 0), height - max(down, 0)), slice(max(-across, 0), width - max(across, 0)))
        out[i][to] = maps[i][of]
    return out


def _matched(first: RegionAnnotation, second: RegionAnnotation) -> Tensor:
    """The second's maps, ids of masks renamed to those of the first that they share most pixels with."""
    maps = second.maps()
    if not first.named:
        return maps
    from windvane.metrics.segmentation import confusion, match_clusters

    counts = confusion(maps, first.maps(), k=second.k or 0, classes=first.k or 0).sum(0)
    found = match_clusters(counts)
    # An id without a partner agrees with none of the first's.
    return torch.where(found < 0, first.k or 0, found)[maps]


def _compared(first: Tensor, second: Tensor, like: RegionAnnotation) -> dict[str, float]:
    seen = second != _UNSEEN
    if like.named:
        pairs = [((first == j) & seen, second == j) for j in range(like.k or 0)]
        each = _overlaps([one for one, _ in pairs], [other for _, other in pairs])
        return {"iou": float(each.mean()), "kept": float((first == second)[seen].double().mean())}
    each = _overlaps(list((first == 1) & seen), list(second == 1))
    return {"iou": float(each.mean()), "kept": float((each >= 0.5).double().mean())}


def _overlaps(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Intersection over union of bool maps, one by one; where both are empty there is none."""
    both = torch.stack([(a & b).sum() for a, b in zip(first, second)]).double()
    either = torch.stack([(a | b).sum() for a, b in zip(first, second)]).double()
    return (both / either)[either > 0] if bool((either > 0).any()) else torch.zeros(1)
