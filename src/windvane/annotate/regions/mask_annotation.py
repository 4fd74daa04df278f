"""Masks as annotations, and the condition they give."""

from typing import Any, Self

import torch
from torch import Tensor

from windvane.annotate.images.clusters import checked_ids
from windvane.annotate.regions.boxes.outlines import run_lengths
from windvane.annotate.regions.masks.geometry import Views, nearest
from windvane.annotate.regions.region_annotation import Origin, RegionAnnotation
from windvane.conditions import Condition


class MaskAnnotation(RegionAnnotation):
    """One id for every pixel of n images of one size.

    Args:
        masks: ids 0..k-1, integers ``(n, H, W)``, kept as uint8.
        k: the number of ids, at most 255.
        origin: what made them.

    Raises:
        ValueError: masks of another rank, or ids out of range; 255, which often marks "ignored", is no id.
    """

    kind, named = "masks", True
    k: int

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
            self.check_views(views, len(masks))
            masks = views.masks(masks)
        present = None
        if vector:
            present = torch.zeros(len(masks), self.k).scatter_(1, masks.flatten(1).long(), 1.0)
        if size is not None:
            masks = nearest(masks, size)
        layout = torch.zeros(len(masks), self.k, *masks.shape[1:]).scatter_(1, masks.long()[:, None], 1.0)
        return Condition.of(vector=present, layout=layout)

    def maps(self) -> Tensor:
        """The ids, int64 ``(n, H, W)``."""
        return self.masks.long()

    def value(self, row: int) -> dict[str, Any]:
        """The run lengths of each id of one image, as JSON values."""
        mask = self.masks[row]
        return {"mask": {str(i): run_lengths(mask == i) for i in mask.unique().tolist()}}

    def like(self, found: Tensor, origin: Origin, ids: Tensor | None = None, k: int | None = None) -> Self:
        """Masks ``(B, H, W)`` of other images."""
        return type(self)(found, self.k, origin=origin)

    def moved(self, numbers: torch.Generator) -> Self:
        """Every mask rolled round its image by a shift drawn uniformly."""
        n, (height, width) = len(self), self.size
        line = (torch.arange(height) - torch.randint(height, (n, 1), generator=numbers)) % height
        column = (torch.arange(width) - torch.randint(width, (n, 1), generator=numbers)) % width
        masks = self.masks[torch.arange(n)[:, None, None], line[:, :, None], column[:, None, :]]
        return type(self)(masks, self.k, origin=self.origin)

    @property
    def layout(self) -> tuple[int, tuple[int, int]]:
        """A channel for each id, of the size of the images."""
        return self.k, self.size

    @property
    def title(self) -> str:
        """What its ids are called."""
        return "Ids of masks"

    @property
    def summary(self) -> str:
        """What it is, in a few words."""
        return f"masks of {self.k} ids by {self.origin.source}"

    def tensors(self) -> dict[str, Tensor]:
        """The masks."""
        return {"masks": self.masks}
