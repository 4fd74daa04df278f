"""One picture of an annotation: members of its clusters, or images with their boxes or masks."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from windvane.pictures import image_grid, to_uint8
from windvane.report.annotation_drawing import FOUND, coloured, draw_boxes, enlargement, paint_masks
from windvane.report.annotation_parts import chosen_members, examples, thumbnails

if TYPE_CHECKING:
    from PIL.Image import Image

    from windvane.annotate import Annotation, BoxAnnotation, MaskAnnotation
    from windvane.data import ImageData

_ROWS, _EACH = 16, 10
_LEAST = 64


def montage(
    data: "ImageData",
    *,
    ids: "Annotation | None" = None,
    boxes: "BoxAnnotation | None" = None,
    masks: "MaskAnnotation | None" = None,
) -> "Image":
    """A row for each of the largest clusters, half of it nearest to the centre and half at random.

    Of boxes and masks it has forty images at random.

    Args:
        data: the images that were annotated.
        ids, boxes, masks: what was found in them; boxes and masks go before ids.

    Raises:
        ValueError: nothing was found.
    """
    if boxes is None and masks is None:
        if ids is None:
            raise ValueError("nothing to show: give ids, boxes or masks")
        return _clusters(data, ids)
    rows = examples(len(data), 4 * _EACH)
    scale = enlargement(data.shape[-2], data.shape[-1], _LEAST)
    large = coloured(data.batch(rows), scale)
    if masks is not None:
        return image_grid(paint_masks(large, masks.masks[rows], scale), columns=_EACH, scale=1)
    assert boxes is not None
    for image, row in zip(large, rows.tolist()):
        draw_boxes(image, boxes.of(row).tolist(), FOUND, scale)
    return image_grid(large, columns=_EACH, scale=1)


def _clusters(data: "ImageData", ids: "Annotation") -> "Image":
    order = ids.sizes.argsort(descending=True, stable=True).tolist()
    shown = [cluster for cluster in order if int(ids.sizes[cluster])][:_ROWS]
    lines = []
    for cluster in shown:
        rows = _members(ids, cluster)
        levels = to_uint8(thumbnails(data.batch(rows), _LEAST))
        blank = np.full((_EACH - len(levels), *levels.shape[1:]), 255, dtype=np.uint8)
        lines.append(np.concatenate([levels, blank]))
    labels = [f"{cluster}: {int(ids.sizes[cluster])}" for cluster in shown]
    return image_grid(np.concatenate(lines), columns=_EACH, row_labels=labels)


def _members(ids: "Annotation", cluster: int) -> Tensor:
    """Half of the row nearest to the centre, the other half at random among the rest."""
    parts = chosen_members(ids, cluster, _EACH)
    if "nearest" not in parts:
        return next(iter(parts.values()))
    near = parts["nearest"][: _EACH // 2]
    drawn = parts["at random"]
    return torch.cat([near, drawn[~torch.isin(drawn, near)][: _EACH - len(near)]])
