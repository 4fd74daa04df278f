"""The one colour that a PNG declares transparent, compared at the depth at which the file stores it."""

from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

_ORIENTATION = 0x0112
#: What Pillow multiplies grey of few bits by; it leaves the declared value as it is.
_FACTORS = {"L;2": 85, "L;4": 17}


def stored_layout(image: "Image") -> str:
    """How the file stores its pixels, in Pillow's terms such as "RGB;16B"; to be asked before loading."""
    tiles = getattr(image, "tile", None)
    args = tiles[0].args if tiles else None
    return str(args[0] if isinstance(args, tuple) and args else args)


def opacity(image: "Image", layout: str, handle: BinaryIO) -> "Image | None":
    """0 where a loaded PNG has its transparent colour, 255 elsewhere (mode L); None where it declares none.

    Palettes and alpha channels are Pillow's matter. The declaration is taken off the image, and the result
    carries the image's EXIF rotation.
    """
    from PIL import Image

    key = image.info.get("transparency")
    if image.format != "PNG" or image.mode not in ("1", "L", "I;16", "I", "RGB"):
        return None
    if not isinstance(key, int | tuple):
        return None
    del image.info["transparency"]
    if image.mode == "RGB":
        wanted = np.asarray(key)
        same = np.asarray(image) == (wanted >> 8 if layout == "RGB;16B" else wanted)
        if layout == "RGB;16B" and same.any():
            same &= _low_bytes(handle) == (wanted & 255)
        same = same.all(axis=-1)
    else:
        values = np.asarray(image)
        scaled = bool(key) if image.mode == "1" else int(key) * _FACTORS.get(layout, 1)  # type: ignore[arg-type]
        same = values == scaled
    mask = Image.fromarray(np.where(same, 0, 255).astype(np.uint8))
    turn = image.getexif().get(_ORIENTATION)
    if turn is not None:
        mask.getexif()[_ORIENTATION] = turn
    return mask


def _low_bytes(handle: BinaryIO) -> np.ndarray:
    """The low bytes of 16-bit colour: read as if its bytes were stored the other way round."""
    from PIL import Image

    handle.seek(0)
    with Image.open(handle, formats=["PNG"]) as again:
        again.tile = [tile._replace(args="RGB;16L") for tile in again.tile]
        return np.asarray(again)


def with_opacity(image: "Image", mask: "Image | None") -> "Image":
    """A grey or colour image of 8 bits with the mask as its alpha channel."""
    if mask is None:
        return image
    result = image.convert("RGB" if image.mode == "RGB" else "L")
    result.putalpha(mask)
    return result
