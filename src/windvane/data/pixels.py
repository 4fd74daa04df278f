"""What becomes of unusual pixels: deep grey, transparency, colour models, and the fit to one size.

Every function takes a loaded Pillow image and returns one; the policies are described at `Decoder`.
"""

from typing import TYPE_CHECKING

import numpy as np

from windvane.data.errors import UnreadableImage
from windvane.data.placement import Placement, inner

if TYPE_CHECKING:
    from PIL.Image import Image

Size = int | tuple[int, int]

FITS = ("crop", "pad", "stretch")
ALPHAS = ("white", "black", "drop")
DEPTHS = ("full", "stretch")
RESAMPLES = ("lanczos", "bicubic", "box", "nearest")

_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def parse_size(size: Size | None) -> tuple[int, int] | None:
    """(height, width) from one number or a pair; None stays None.

    Raises:
        ValueError: for anything but one or two positive whole numbers.
    """
    if size is None:
        return None
    pair = tuple(size) if isinstance(size, tuple | list) else (size, size)
    whole = all(isinstance(s, int | np.integer) and not isinstance(s, bool) for s in pair)
    if len(pair) != 2 or not whole or min(pair) < 1:
        raise ValueError(f"size must be a positive whole number or a pair (height, width), got {size!r}")
    return int(pair[0]), int(pair[1])


def background(alpha: str) -> tuple[int, int, int]:
    """The colour behind transparent pixels and beside padded pictures."""
    return (255, 255, 255) if alpha == "white" else (0, 0, 0)


def to_eight_bits(image: "Image", depth: str) -> "Image":
    """Grey of 16 or 32 bits or of floats as 8-bit grey; every other image as it is.

    "full": v / 257 for 16 bits, 255 v for floats in [0, 1]; "stretch": the image's least value becomes 0 and
    its greatest 255 (a constant image becomes 0). Rounded to the nearest.
    """
    if image.mode not in _DEEP_MODES:
        return image
    from PIL import Image

    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise UnreadableImage("unsupported values: NaN or infinity")
    if depth == "stretch":
        low, high = float(values.min()), float(values.max())
        scaled = (values.astype(np.float64) - low) * (255 / (high - low) if high > low else 0)
        return Image.fromarray(np.rint(scaled).astype(np.uint8))
    top = 1 if image.mode == "F" else 65535
    if values.min() < 0 or values.max() > top:
        raise UnreadableImage(
            f"unsupported values: {values.min():g} to {values.max():g} where 0 to {top} are expected; "
            'depth="stretch" takes any range'
        )
    if image.mode == "F":
        return Image.fromarray(np.rint(values.astype(np.float64) * 255).astype(np.uint8))
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def flatten_alpha(image: "Image", alpha: str) -> "Image":
    """A transparent image over its background: a * colour + (1 - a) * background; opaque ones as they are.

    With "drop" the colours stay as stored and transparency is forgotten.
    """
    if not image.has_transparency_data:
        return image
    from PIL import Image

    rgba = image.convert("RGBA")
    colours = rgba.convert("RGB")
    if alpha == "drop":
        return colours
    flat = Image.new("RGB", image.size, background(alpha))
    flat.paste(colours, mask=rgba.getchannel("A"))
    return flat


def to_channels(image: "Image", channels: int) -> "Image":
    """One channel of luma (0.299 R + 0.587 G + 0.114 B), or three, with grey repeated."""
    wanted = "L" if channels == 1 else "RGB"
    if image.mode == wanted:
        return image
    if wanted == "L" and image.mode not in ("1", "RGB"):
        image = image.convert("RGB")
    return image.convert(wanted)


def fit_to(
    image: "Image", size: tuple[int, int], fit: str, resample: str, fill: tuple[int, int, int]
) -> "Image":
    """The image at `size` (height, width); see `Decoder` for `fit` and `resample`."""
    from PIL import Image

    method = getattr(Image.Resampling, resample.upper())
    height, width = size
    if fit == "stretch":
        return image.resize((width, height), method)
    source = (image.height, image.width)
    if fit == "crop":
        # The largest centred box of the wanted proportions; one resampling does scaling and cropping.
        at = Placement.of(source, size, fit)
        right, bottom = at.left + at.across * width, at.top + at.down * height
        box = (at.left, at.top, min(right, image.width), min(bottom, image.height))
        return image.resize((width, height), method, box=box)
    high, wide = inner(source, size)
    canvas = Image.new(image.mode, (width, height), fill[0] if image.mode == "L" else fill)
    canvas.paste(image.resize((wide, high), method), ((width - wide) // 2, (height - high) // 2))
    return canvas


def to_array(image: "Image") -> np.ndarray:
    """(C, H, W) uint8, contiguous, of an image in mode L or RGB."""
    values = np.asarray(image)
    return np.ascontiguousarray(values[None] if values.ndim == 2 else values.transpose(2, 0, 1))
