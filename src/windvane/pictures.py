"""Pictures: from numbers to pixels, PNG files that carry their settings, and labelled grids.

One rounding rule, used wherever a picture is written: a value x in [-1, 1] becomes the nearest of the 256
levels, u = clip(rint((x + 1) * 127.5), 0, 255), halves to the even level. The way back is x = u / 127.5 - 1,
and u -> x -> u is the identity for every u.

Torch is not imported here; anything that NumPy can read works, tensors included.
"""

import io
import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from windvane.damage import Damaged, reading
from windvane.file_batches import atomic_files
from windvane.files import atomic_file

if TYPE_CHECKING:
    from PIL.Image import Image

#: The PNG text chunk that holds the settings, as JSON.
KEY = "windvane"
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_LONGEST, _MOST_PIXELS = 1_000_000, 50_000_000
_FONT_SIZE = 12
_MARGIN = 4


def to_uint8(values: Any) -> np.ndarray:
    """Values in [-1, 1], any shape, as uint8 levels by the rule of this module; NaN is refused."""
    array = _numpy(values)
    if array.dtype == np.uint8:
        return array
    if not np.isfinite(array).all():
        raise ValueError("a picture holds values that are not finite (NaN or infinity)")
    return np.clip(np.rint((array.astype(np.float64) + 1.0) * 127.5), 0, 255).astype(np.uint8)


def from_uint8(levels: Any) -> np.ndarray:
    """Levels 0..255 as float32 values in [-1, 1]."""
    return (_numpy(levels).astype(np.float64) / 127.5 - 1.0).astype(np.float32)


def to_picture(image: Any, *, scale: int = 1) -> "Image":
    """A Pillow picture of one image (C, H, W) or (H, W), enlarged `scale` times without smoothing.

    Float images are in [-1, 1], uint8 images in 0..255; C is 1 (grey), 3 (colour) or 4 (with alpha).
    """
    from PIL import Image

    array = to_uint8(image)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[0] not in _MODES:
        raise ValueError(f"a picture needs shape (C, H, W) with C of 1, 3 or 4, got {tuple(array.shape)}")
    if scale != 1:
        array = array.repeat(scale, axis=1).repeat(scale, axis=2)
    pixels = array[0] if array.shape[0] == 1 else np.ascontiguousarray(array.transpose(1, 2, 0))
    return Image.fromarray(pixels)


def scale_for(height: int, width: int, *, least: int = 64) -> int:
    """The whole number by which a tiny image is enlarged so that its shorter side has `least` pixels."""
    return max(1, math.ceil(least / min(height, width)))


def png_bytes(picture: "Image", settings: Mapping[str, Any] | None = None) -> bytes:
    """A picture as PNG, with `settings` in its text chunk."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", pnginfo=text_chunk(settings))
    return buffer.getvalue()


def save_png(picture: "Image", path: str | Path, settings: Mapping[str, Any] | None = None) -> Path:
    """Write a PNG at once (a killed process leaves the old file or the new one), settings inside."""
    path = Path(path)
    with atomic_file(path) as temporary:
        temporary.write_bytes(png_bytes(picture, settings))
    return path


def save_pngs(
    pictures: "Sequence[tuple[Image, str | Path, Mapping[str, Any] | None]]",
) -> None:
    """Write pictures of one folder as `save_png` does each, waiting for the disk once for all of them."""
    with atomic_files([path for _, path, _ in pictures]) as places:
        for (picture, _, settings), place in zip(pictures, places, strict=True):
            place.write_bytes(png_bytes(picture, settings))


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings inside a PNG written by Windvane; ValueError where there are none."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"picture not found: {path}")
    try:
        with _opened(path) as picture:
            text = getattr(picture, "text", {}).get(KEY)
    except Damaged as error:
        raise ValueError(f"{path} is not a readable picture: {error.reason}") from None
    if text is None:
        raise ValueError(f"{path} carries no windvane settings; only pictures that windvane wrote do")
    if len(text) > _LONGEST:
        raise ValueError(f"the windvane settings inside {path} are damaged: {len(text)} characters")
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"the windvane settings inside {path} are damaged") from None
    if not isinstance(settings, dict):
        raise ValueError(f"the windvane settings inside {path} are not a mapping")
    return settings


def read_pixels(path: str | Path) -> np.ndarray:
    """The levels of a PNG as uint8 (C, H, W).

    Raises:
        ValueError: a damaged file, one of more than 50 million pixels, or one that is no picture of levels.
        OSError: it is not there, or cannot be read.
    """
    with _opened(path, check=True) as picture:
        array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise ValueError(f"{path} holds no levels 0 to 255, but {array.dtype} of shape {array.shape}")
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


@contextmanager
def _opened(path: str | Path, *, check: bool = False) -> "Iterator[Image]":
    """A picture, with what damage makes of it as one error; with `check` its checksums are compared first."""
    from PIL import Image

    with warnings.catch_warnings(), reading(path):
        # Pillow warns from half of the number on that it refuses.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as picture:
            width, height = picture.size
            if check and width * height <= _MOST_PIXELS:
                picture.verify()
        if width * height > _MOST_PIXELS:
            raise ValueError(f"it says {width} x {height} pixels, more than {_MOST_PIXELS:,}")
        with Image.open(path) as picture:
            yield picture


def image_grid(
    images: Any,
    *,
    columns: int | None = None,
    scale: int | None = None,
    gap: int = 2,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    title: str | None = None,
) -> "Image":
    """Images (B, C, H, W), row by row, as one picture on white, with captions beside rows and above columns.

    Args:
        images: values in [-1, 1] or uint8 levels.
        columns: images a row; default the square nearest to B.
        scale: whole-number enlargement; default so that tiny images become visible.
        gap: pixels between images.
    Raises:
        ValueError: for another shape, or labels whose number is not that of the rows or columns.
    """
    from PIL import Image, ImageDraw

    levels = to_uint8(images)
    if levels.ndim != 4 or len(levels) == 0 or levels.shape[1] not in _MODES:
        raise ValueError(f"a grid needs images (B, C, H, W) with C of 1, 3 or 4, got {tuple(levels.shape)}")
    count, channels, height, width = levels.shape
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    for name, labels, number in (("row", row_labels, rows), ("column", column_labels, columns)):
        if labels is not None and len(labels) != number:
            raise ValueError(f"{number} {name}s need {number} {name} labels, got {len(labels)}")
    scale = scale or scale_for(height, width, least=48)
    cell_w, cell_h = width * scale + gap, height * scale + gap
    left = gap + max((_text_size(label)[0] for label in row_labels or ()), default=-_MARGIN) + _MARGIN
    head = _FONT_SIZE + 2 * _MARGIN
    top = gap + head * (title is not None) + head * (column_labels is not None)
    page_w = max(left + columns * cell_w, _text_size(title)[0] + 2 * _MARGIN if title else 0)
    mode = "RGBA" if channels == 4 else "RGB" if channels == 3 else "L"
    page = Image.new(mode, (page_w, top + rows * cell_h), "white")
    draw = ImageDraw.Draw(page)
    for position, image in enumerate(levels):
        row, column = divmod(position, columns)
        page.paste(to_picture(image, scale=scale), (left + column * cell_w, top + row * cell_h))
    font = _font()
    if title:
        draw.text((_MARGIN, _MARGIN), title, fill="black", font=font)
    for row, label in enumerate(row_labels or ()):
        middle = top + row * cell_h + (cell_h - gap) // 2
        draw.text((_MARGIN, middle), label, fill="black", font=font, anchor="lm")
    for column, label in enumerate(column_labels or ()):
        middle = left + column * cell_w + (cell_w - gap) // 2
        draw.text((middle, top - _MARGIN), label, fill="black", font=font, anchor="ms")
    return page


def _numpy(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
        values = values.numpy()
    return np.asarray(values)


def text_chunk(settings: Mapping[str, Any] | None) -> Any:
    """What Pillow takes as ``pnginfo``, to put settings into a PNG."""
    if settings is None:
        return None
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt(KEY, json.dumps(settings, ensure_ascii=False, sort_keys=True))
    return info


def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=_FONT_SIZE)


def _text_size(text: str) -> tuple[int, int]:
    left, top, right, bottom = _font().getbbox(text)
    return math.ceil(right - left), math.ceil(bottom - top)
