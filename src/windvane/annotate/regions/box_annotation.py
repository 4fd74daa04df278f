"""Boxes as annotations, with the image-level ids that go beside them, and the condition they give."""

from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from windvane.annotate.images.clusters import checked_ids
from windvane.annotate.regions.masks.geometry import Views, resize_boxes
from windvane.annotate.regions.region_annotation import Origin, RegionAnnotation
from windvane.conditions import Condition


class BoxAnnotation(RegionAnnotation):
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

    kind, named = "boxes", False

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
        self.boxes, self._size, self.origin = boxes.long(), (int(size[0]), int(size[1])), origin
        self._n = len(boxes) if n is None else n
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
        return self._n

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images."""
        return self._size

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
        ids = None if self.ids is None else self.ids[rows]
        return self._with(boxes=self.boxes[box], owner=image, n=len(rows), ids=ids)

    def _with(self, **changed: Any) -> Self:
        """The same with some parts changed."""
        parts = {name: getattr(self, name) for name in ("boxes", "size", "origin", "owner", "n", "ids", "k")}
        parts |= changed
        return type(self)(parts.pop("boxes"), **parts)

    def with_ids(self, ids: Tensor | None, k: int | None) -> Self:
        """The same boxes beside other image-level ids ``(n,)``, or none."""
        return self._with(ids=ids, k=k)

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
            self.check_views(views, chosen.n)
            boxes, source = views.index(chosen.owner).boxes(boxes), views.out
        if size is not None:
            boxes, source = resize_boxes(boxes, source, size), size
        y, x = torch.arange(source[0])[:, None], torch.arange(source[1])
        left, top, right, bottom = (edge[:, None, None] for edge in boxes.unbind(1))
        inside = ((x >= left) & (x < right) & (y >= top) & (y < bottom)).float()
        layout = torch.zeros(chosen.n, *source).index_add_(0, chosen.owner, inside).clamp(max=1)[:, None]
        return Condition.of(vector=chosen.ids if vector else None, layout=layout)

    def maps(self) -> Tensor:
        """1 inside of a box and 0 elsewhere, int64 ``(n, H, W)``."""
        return self.condition(vector=False).signals["layout"][:, 0].long()

    def value(self, row: int) -> dict[str, Any]:
        """The boxes of one image and its id, as JSON values."""
        found = {"boxes": self.of(row).tolist()}
        return found if self.ids is None else {**found, "id": int(self.ids[row])}

    def like(self, found: Tensor, origin: Origin, ids: Tensor | None = None, k: int | None = None) -> Self:
        """One box ``(B, 4)`` an image of other images of the same size, and the ids beside them."""
        return type(self)(found, size=self.size, origin=origin, ids=ids, k=k)

    def dealt(self, order: Tensor) -> Self:
        """The boxes of image ``order[i]`` for image i, which keeps its id."""
        return self.take(order).with_ids(self.ids, self.k)

    def moved(self, numbers: torch.Generator) -> Self:
        """Every box, of the same size, at a place drawn uniformly among those within its image."""
        height, width = self.size
        left, top, right, bottom = self.boxes.unbind(1)
        across, down = right - left, bottom - top
        left, top = _places(width - across, numbers), _places(height - down, numbers)
        return self._with(boxes=torch.stack([left, top, left + across, top + down], dim=1))

    @property
    def layout(self) -> tuple[int, tuple[int, int]]:
        """One channel, of the size of the images."""
        return 1, self.size

    @property
    def counts(self) -> list[int] | None:
        """Images per id, where there are ids."""
        return None if self.ids is None else torch.bincount(self.ids, minlength=self.k or 0).tolist()

    @property
    def title(self) -> str:
        """What the ids beside the boxes are called."""
        return "Clusters"

    @property
    def summary(self) -> str:
        """What it is, in a few words."""
        return f"boxes by {self.origin.source}" + (f" beside {self.k} clusters" if self.k else "")

    def tensors(self) -> dict[str, Tensor]:
        """Boxes, the image of each, and ids where there are any."""
        beside = {} if self.ids is None else {"ids": self.ids}
        return {"boxes": self.boxes, "owner": self.owner, **beside}


def _places(limits: Tensor, numbers: torch.Generator) -> Tensor:
    """An integer uniform in 0..limit for each limit ``(m,)``."""
    drawn = torch.rand(len(limits), generator=numbers, dtype=torch.float64)
    return torch.minimum((drawn * (limits + 1)).long(), limits)
