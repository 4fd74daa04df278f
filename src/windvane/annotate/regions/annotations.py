"""Boxes and masks as annotations: what they are, what made them, and the condition they give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from windvane.annotate.features.extractor import Images
from windvane.annotate.images.clusters import checked_ids
from windvane.annotate.regions.masks.geometry import Views, nearest, resize_boxes
from windvane.conditions import Condition

if TYPE_CHECKING:
    from windvane.annotate.regions.rules import RegionRule


@dataclass(frozen=True)
class Origin:
    """Where boxes or masks come from.

    Args:
        source: "lost", "normalised cut", "stego", "patch-clusters", "coco", "drawn", ...
        made_by: version of the features or of the segmenter; "" for what was given by hand.
        settings: what else made them, JSON values.
        fingerprint: content hash of the images; "" where they belong to no data set.
        rule: what made them, for new images; None where there is none.
    """

    source: str
    made_by: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    rule: "RegionRule | None" = field(default=None, compare=False, repr=False)


class BoxAnnotation:
    """Boxes of n images of one size, any number an image, and the image-level ids that go beside them.

    Self-Guided Diffusion Models (2210.06462) conditions on one box an image, drawn as a binary mask, together
    with the image-level cluster.

    Args:
        boxes: int64 ``(m, 4)``: (left, top, right, bottom) in pixels, right and bottom exclusive.
        owner: which image each box belongs to, int64 ``(m,)``; None says that box i belongs to image i.
        n: the number of images; None takes the number of boxes.
        size: (height, width) of the images.
        origin: what made them.
        ids: image-level ids ``(n,)``, or None.
        k: the number of ids.

    Raises:
        ValueError: boxes that are empty or leave the image, owners or ids out of range.
    """

    kind = "boxes"

    def __init__(
        self,
        boxes: Tensor,
        *,
        size: tuple[int, int],
        origin: Origin,
        owner: Tensor | None = None,
        n: int | None = None,
        ids: Tensor | None = None,
        k: int | None = None,
    ) -> None:
        if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.is_floating_point():
            raise ValueError(f"boxes must be integers (m, 4), got {boxes.dtype} {tuple(boxes.shape)}")
        self.boxes, self.size, self.origin = boxes.long(), (int(size[0]), int(size[1])), origin
        self.n = len(boxes) if n is None else n
        if owner is None and len(boxes) != self.n:
            raise ValueError(f"{len(boxes)} boxes for {self.n} images need owner, the image of each box")
        self.owner = torch.arange(self.n) if owner is None else checked_ids(owner, self.n)
        if len(self.owner) != len(boxes):
            raise ValueError(f"{len(boxes)} boxes, but {len(self.owner)} owners")
        self._check_boxes()
        if (ids is None) != (k is None):
            raise ValueError(f"ids and k go together, got ids {'missing' if ids is None else 'given'}, k={k}")
        self.ids, self.k = None if ids is None else checked_ids(ids, k or 0), k
        if self.ids is not None and len(self.ids) != self.n:
            raise ValueError(f"{len(self.ids)} ids for {self.n} images")

    def _check_boxes(self) -> None:
        left, top, right, bottom = self.boxes.unbind(1)
        height, width = self.size
        bad = (left < 0) | (top < 0) | (right > width) | (bottom > height) | (left >= right) | (top >= bottom)
        if bool(bad.any()):
            first = int(bad.int().argmax())
            raise ValueError(
                f"box {first}, of image {int(self.owner[first])}, is {self.boxes[first].tolist()}; an image "
                f"of {height} x {width} needs 0 <= left < right <= {width} and 0 <= top < bottom <= {height}"
            )

    def __len__(self) -> int:
        return self.n

    @cached_property
    def _by_image(self) -> tuple[Tensor, Tensor, Tensor]:
        """The order that sorts boxes by image, where each image's stretch begins in it, and its length."""
        counts = torch.bincount(self.owner, minlength=self.n)
        return self.owner.argsort(stable=True), counts.cumsum(0) - counts, counts

    def of(self, row: int) -> Tensor:
        """The boxes of one image, ``(m, 4)``."""
        order, first, counts = self._by_image
        return self.boxes[order[first[row] : first[row] + counts[row]]]

    def each(self) -> list[Tensor]:
        """The boxes of every image, ``(m_i, 4)``."""
        order, _, counts = self._by_image
        return list(self.boxes[order].split(counts.tolist()))

    def take(self, rows: Tensor) -> Self:
        """An annotation of ``len(rows)`` images, the i-th with boxes and id of image ``rows[i]``.

        A permutation of all rows is the shuffled control.
        """
        rows = checked_ids(rows, self.n)
        # Each row asked for takes its image's stretch of the boxes sorted by image.
        order, first, counts = self._by_image
        wanted = counts[rows]
        image = torch.arange(len(rows)).repeat_interleave(wanted)
        within = torch.arange(len(image)) - (wanted.cumsum(0) - wanted)[image]
        box = order[first[rows[image]] + within]
        return type(self)(
            self.boxes[box],
            size=self.size,
            origin=self.origin,
            owner=image,
            n=len(rows),
            ids=None if self.ids is None else self.ids[rows],
            k=self.k,
        )

    def with_ids(self, ids: Tensor | None, k: int | None) -> Self:
        """The same boxes beside other image-level ids ``(n,)``, or none."""
        return type(self)(
            self.boxes, size=self.size, origin=self.origin, owner=self.owner, n=self.n, ids=ids, k=k
        )

    def condition(
        self,
        rows: Tensor | None = None,
        size: tuple[int, int] | None = None,
        *,
        views: Views | None = None,
        vector: bool = True,
    ) -> Condition:
        """Boxes as maps, and the ids beside them.

        Args:
            rows: images, int64 ``(B,)``; None takes all of them.
            size: (height, width) of the maps; None keeps the size of the images, or the views'.
            views: crops and mirrors that the images go through, one a row.
            vector: give the ids too, where there are any.

        Returns:
            "layout" ``(B, 1, height, width)``, 1 inside of a box and 0 elsewhere, zero everywhere without a
            box; "vector" ids ``(B,)``.
        """
        chosen = self.take(torch.arange(self.n) if rows is None else rows)
        boxes, source = chosen.boxes, self.size
        if views is not None:
            _check_views(views, chosen.n, self.size)
            boxes, source = views.index(chosen.owner).boxes(boxes), views.out
        if size is not None:
            boxes, source = resize_boxes(boxes, source, size), size
        y, x = torch.arange(source[0])[:, None], torch.arange(source[1])
        left, top, right, bottom = (edge[:, None, None] for edge in boxes.unbind(1))
        inside = ((x >= left) & (x < right) & (y >= top) & (y < bottom)).float()
        layout = torch.zeros(chosen.n, *source).index_add_(0, chosen.owner, inside).clamp(max=1)[:, None]
        return Condition.of(vector=chosen.ids if vector else None, layout=layout)

    def check(self, data: Images) -> None:
        """Refuse data that these boxes do not belong to."""
        check_origin(self.kind, self.n, self.size, self.origin, data)

    def save(self, path: str | Path) -> None:
        """Write it as a folder, atomically; see :mod:`windvane.annotate.region_storage`."""
        from windvane.annotate.region_storage import save_regions

        save_regions(self, path)


class MaskAnnotation:
    """One id for every pixel of n images of one size.

    Args:
        masks: ids 0..k-1, integers ``(n, H, W)``, kept as uint8.
        k: the number of ids, at most 255.
        origin: what made them.

    Raises:
        ValueError: masks of another rank, or ids out of range; 255, which often marks "ignored", is no id.
    """

    kind = "masks"

    def __init__(self, masks: Tensor, k: int, *, origin: Origin) -> None:
        if masks.ndim != 3 or masks.is_floating_point() or masks.dtype == torch.bool:
            raise ValueError(f"masks must be integers (n, H, W), got {masks.dtype} {tuple(masks.shape)}")
        if not 1 <= k <= 255:
            raise ValueError(f"masks have 1 to 255 ids, got k={k}")
        if masks.numel() and not 0 <= int(masks.min()) <= int(masks.max()) < k:
            wrong = ((masks < 0) | (masks >= k)).flatten(1).any(dim=1)
            raise ValueError(
                f"ids of masks must lie in 0..{k - 1}, got {int(masks.min())}..{int(masks.max())}, first in "
                f"image {int(wrong.int().argmax())}"
            )
        self.masks, self.k, self.origin = masks.to(torch.uint8), k, origin

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images."""
        return self.masks.shape[1], self.masks.shape[2]

    def take(self, rows: Tensor) -> Self:
        """An annotation whose i-th image has the mask of image ``rows[i]``."""
        return type(self)(self.masks[checked_ids(rows, len(self))], self.k, origin=self.origin)

    def condition(
        self,
        rows: Tensor | None = None,
        size: tuple[int, int] | None = None,
        *,
        views: Views | None = None,
        vector: bool = True,
    ) -> Condition:
        """Masks as one-hot maps, and the ids that occur in them beside.

        Args:
            rows: images, int64 ``(B,)``; None takes all of them, 4 k bytes a pixel.
            size: (height, width) of the maps, copied pixel by pixel; None keeps that of the masks or views.
            views: crops and mirrors that the images go through, one a row.
            vector: give the multi-hot vector too.

        Returns:
            "layout" ``(B, k, height, width)``, one-hot; "vector" ``(B, k)``, 1 for each id in the view.
        """
        masks = self.masks if rows is None else self.masks[checked_ids(rows, len(self))]
        if views is not None:
            _check_views(views, len(masks), self.size)
            masks = views.masks(masks)
        present = None
        if vector:
            present = torch.zeros(len(masks), self.k).scatter_(1, masks.flatten(1).long(), 1.0)
        if size is not None:
            masks = nearest(masks, size)
        layout = torch.zeros(len(masks), self.k, *masks.shape[1:]).scatter_(1, masks.long()[:, None], 1.0)
        return Condition.of(vector=present, layout=layout)

    def check(self, data: Images) -> None:
        """Refuse data that these masks do not belong to."""
        check_origin(self.kind, len(self), self.size, self.origin, data)

    def save(self, path: str | Path) -> None:
        """Write it as a folder, atomically; see :mod:`windvane.annotate.region_storage`."""
        from windvane.annotate.region_storage import save_regions

        save_regions(self, path)


def _check_views(views: Views, rows: int, size: Sequence[int]) -> None:
    if len(views) != rows or tuple(views.source) != tuple(size):
        raise ValueError(
            f"{len(views)} views of images of {views.source[0]} x {views.source[1]} do not fit {rows} rows "
            f"of {size[0]} x {size[1]}"
        )


def check_origin(kind: str, n: int, size: tuple[int, int], origin: Origin, data: Images) -> None:
    """Refuse images of another number, size or content.

    Raises:
        ValueError: with what differs.
    """
    if len(data) != n:
        raise ValueError(f"the {kind} are of {n} images, the data have {len(data)}")
    if tuple(data.shape[-2:]) != size:
        raise ValueError(
            f"the {kind} are of images of {size[0]} x {size[1]} pixels, the data have "
            f"{data.shape[-2]} x {data.shape[-1]}; annotate at the size used for training"
        )
    if origin.fingerprint and data.fingerprint != origin.fingerprint:
        raise ValueError(
            f"the {kind} were made from other images (fingerprint {origin.fingerprint[:12]}, the data have "
            f"{data.fingerprint[:12]}); annotate again"
        )
