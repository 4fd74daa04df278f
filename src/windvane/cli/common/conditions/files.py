"""Boxes and masks that a user drew, from files."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from windvane.annotate import BoxAnnotation, MaskAnnotation

_PICTURES = (".png", ".bmp", ".gif", ".tif", ".tiff")


def read_boxes(path: Path, size: tuple[int, int]) -> "BoxAnnotation":
    """Boxes of one or more pictures, dealt to the pictures in turn.

    Args:
        path: JSON: COCO-style (its images in order, of any size: they go the way of training images), one
            list of [left, top, right, bottom] for every picture, or a list of such lists, one a picture.
        size: (height, width) of the model's pictures.

    Raises:
        ValueError: another form, boxes outside of their picture.
    """
    from windvane.annotate import boxes_from_coco

    if not path.is_file():
        raise ValueError(f"there is no file of boxes at {path}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} holds no JSON: {error}") from None
    if isinstance(value, dict):
        return boxes_from_coco(path, size=size, strict=True)
    return _plain_boxes(value, path, size)


def _plain_boxes(value: Any, path: Path, size: tuple[int, int]) -> "BoxAnnotation":
    import torch

    from windvane.annotate import BoxAnnotation, Origin

    each = [value] if value and _is_box(value[0]) else value
    good = isinstance(each, list) and each and all(isinstance(boxes, list) for boxes in each)
    if not good or not all(_is_box(box) for boxes in each for box in boxes):
        raise ValueError(
            f"{path} holds no boxes: give COCO-style JSON, or [[left, top, right, bottom], ...] in pixels, "
            "or one such list for each picture"
        )
    flat = [[round(edge) for edge in box] for boxes in each for box in boxes]
    owner = [i for i, boxes in enumerate(each) for _ in boxes]
    try:
        return BoxAnnotation(
            torch.tensor(flat, dtype=torch.int64).reshape(-1, 4),
            owner=torch.tensor(owner, dtype=torch.int64),
            n=len(each),
            size=size,
            origin=Origin("drawn"),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _is_box(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(edge, int | float) and not isinstance(edge, bool) for edge in value)
    )


def read_masks(path: Path, size: tuple[int, int], k: int) -> "MaskAnnotation":
    """Masks of one or more pictures, dealt to the pictures in turn.

    Args:
        path: a picture whose grey levels or palette indices are the ids, or a folder of such. With two ids
            black and white (0 and 255) are taken for 0 and 1.
        size: (height, width) of the model's pictures. Masks of another size go the way of training images,
            cropped at the centre to this shape, and each pixel is copied from the one under its centre.
        k: the number of ids.

    Raises:
        ValueError: unreadable or colour pictures, ids out of range.
    """
    import torch

    from windvane.annotate import MaskAnnotation, Origin

    masks = [_placed(_levels(file, k), size) for file in files_in(path, _PICTURES, what="mask")]
    return MaskAnnotation(torch.stack(masks), k, origin=Origin("drawn"))


def files_in(path: Path, endings: tuple[str, ...], *, what: str) -> list[Path]:
    """A file, or those of a folder with one of these endings, by name, without hidden ones.

    Raises:
        ValueError: nothing there, or what is no file, which would never end.
    """
    if not path.exists():
        raise ValueError(f"there is no {what} {path}")
    if not path.is_dir():
        if not path.is_file():
            raise ValueError(f"{path} is no file but a pipe or a device")
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in endings and file.is_file())
    found = [file for file in found if not file.name.startswith(".")]
    if not found:
        raise ValueError(f"there is no {what} in {path}; known: {', '.join(endings)}")
    return found


def _placed(levels: "Tensor", size: tuple[int, int]) -> "Tensor":
    """Ids ``(H, W)`` at the size of the model's pictures, where the loader would put the picture itself."""
    from windvane.data.placement import Placement

    height, width = levels.shape
    lines, columns = Placement.of((height, width), size, "crop").under()
    return levels[lines][:, columns]


def _levels(path: Path, k: int) -> "Tensor":
    import numpy as np
    import torch
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            mode = opened.mode
            levels = np.array(opened.convert("L") if mode == "1" else opened)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is no readable picture: {error}") from None
    if mode not in ("1", "L", "P"):
        raise ValueError(f"{path} has the mode {mode}; a mask has one channel of ids (grey or palette)")
    if k == 2 and set(np.unique(levels)) <= {0, 255}:
        levels = (levels > 0).astype(np.uint8)
    if levels.max() >= k:
        raise ValueError(f"{path} holds the id {int(levels.max())}; the model knows {k}, 0 to {k - 1}")
    return torch.from_numpy(levels)
