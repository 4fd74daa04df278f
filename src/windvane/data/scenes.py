"""Scenes composed of real images: objects on a canvas, with exact boxes and masks for evaluation only."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from windvane.data.images import ImageData

_TRIES = 50


@dataclass(frozen=True)
class Scenes:
    """Composed images and the truth about them, which no training reads.

    Args:
        images: the scenes.
        boxes: per scene int64 ``(m, 4)``: (left, top, right, bottom) of each object's visible pixels, right
            and bottom exclusive.
        masks: uint8 ``(n, H, W)``: 0 background, j + 1 the j-th object.
        labels: per scene int64 ``(m,)``: the objects' labels, -1 where the source has none.
    """

    images: ImageData
    boxes: list[Tensor]
    masks: Tensor
    labels: list[Tensor]

    def __len__(self) -> int:
        return len(self.images)


def scenes(
    objects: ImageData,
    n: int,
    *,
    size: int = 20,
    count: tuple[int, int] = (1, 1),
    noise: float = 0.05,
    clutter: int = 0,
    clutter_size: int = 4,
    ink: float | None = 0.25,
    seed: int = 0,
) -> Scenes:
    """``n`` scenes of ``size`` x ``size`` pixels; scene i depends on ``seed`` and i alone.

    Pixels are composed in [0, 1]: a background of uniform noise in [0, ``noise``], then clutter, then the
    objects at random places where they do not overlap.

    Args:
        objects: real images, smaller than the canvas.
        count: fewest and most objects of a scene.
        clutter: square pieces of other objects strewn on the background, ``clutter_size`` pixels a side.
        ink: an object is its pixels above this value, drawn by the maximum with what is there (digits); None
            pastes whole images (photographs).

    Raises:
        ValueError: objects that do not fit, or settings out of range.
    """
    channels, height, width = objects.shape
    low, high = count
    if max(height, width) > size or not 1 <= low <= high or not 0 <= noise <= 1:
        raise ValueError(
            f"scenes need objects within the canvas, 1 <= count and 0 <= noise <= 1; got objects of "
            f"{height} x {width} on {size} x {size}, count {count}, noise {noise}"
        )
    source = (objects.batch(slice(None)).numpy() + 1) / 2
    labels = np.full(len(objects), -1) if objects.labels is None else objects.labels.numpy()
    pixels = np.empty((n, channels, size, size), dtype=np.float32)
    masks = np.zeros((n, size, size), dtype=np.uint8)
    boxes, found = [], []
    for i in range(n):
        random = np.random.Generator(np.random.Philox(key=[seed, i]))
        canvas = random.uniform(0, noise, (1, size, size)).repeat(channels, 0)
        for _ in range(clutter):
            piece = source[random.integers(len(source))]
            _stamp(canvas, _crop(piece, clutter_size, random), random)
        chosen = random.integers(len(source), size=random.integers(low, high + 1))
        placed = []
        for row in chosen:
            place = _place(masks[i], (height, width), random)
            if place is None:
                continue
            placed.append(row)
            _draw(canvas, masks[i], source[row], place, ink, len(placed))
        pixels[i] = np.clip(canvas, 0, 1) * 2 - 1
        boxes.append(torch.stack([_box(masks[i] == j + 1) for j in range(len(placed))]))
        found.append(torch.from_numpy(labels[placed].astype(np.int64)))
    return Scenes(ImageData(pixels), boxes, torch.from_numpy(masks), found)


def _crop(image: np.ndarray, side: int, random: np.random.Generator) -> np.ndarray:
    top, left = (random.integers(length - side + 1) for length in image.shape[1:])
    return image[:, top : top + side, left : left + side]


def _stamp(canvas: np.ndarray, piece: np.ndarray, random: np.random.Generator) -> None:
    side, size = piece.shape[1], canvas.shape[1]
    top, left = random.integers(size - side + 1, size=2)
    window = canvas[:, top : top + side, left : left + side]
    np.maximum(window, piece, out=window)


def _place(mask: np.ndarray, shape: tuple[int, int], random: np.random.Generator) -> tuple[int, int] | None:
    """A random place where no object is yet, or None after many tries."""
    size = mask.shape[0]
    for _ in range(_TRIES):
        top, left = random.integers(size - shape[0] + 1), random.integers(size - shape[1] + 1)
        if not mask[top : top + shape[0], left : left + shape[1]].any():
            return int(top), int(left)
    return None


def _draw(
    canvas: np.ndarray,
    mask: np.ndarray,
    image: np.ndarray,
    place: tuple[int, int],
    ink: float | None,
    number: int,
) -> None:
    (top, left), (height, width) = place, image.shape[1:]
    window = canvas[:, top : top + height, left : left + width]
    inside = np.ones(image.shape[1:], dtype=bool) if ink is None else image.max(0) > ink
    if ink is None:
        window[:] = image
    else:
        np.maximum(window, image, out=window)
    mask[top : top + height, left : left + width][inside] = number


def _box(inside: np.ndarray) -> Tensor:
    lines, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return torch.tensor([columns[0], lines[0], columns[-1] + 1, lines[-1] + 1])
