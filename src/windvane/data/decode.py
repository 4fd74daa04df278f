"""One image file, of any kind, as uint8 (C, H, W), or the reason why it cannot be read."""

import io
import math
import os
import re
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from windvane.data.errors import TooLittle, UnreadableImage, is_passing, refuse_scarcity
from windvane.data.pixels import (
    ALPHAS,
    DEPTHS,
    FITS,
    RESAMPLES,
    Size,
    background,
    fit_to,
    flatten_alpha,
    parse_size,
    to_array,
    to_channels,
    to_eight_bits,
)
from windvane.data.png_transparency import opacity, stored_layout, with_opacity

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 89_478_485

# Raster formats only: Pillow would hand an EPS file with the ending .png to Ghostscript.
_FORMATS = (
    "PNG JPEG WEBP GIF TIFF BMP DIB PPM TGA JPEG2000 AVIF HEIF ICO PCX QOI PSD".split()
)  # fmt: skip

_ORIENTATION = 0x0112
#: EXIF's rotations and reflections, and those of them that swap width and height.
_ROTATED, _TURNED = range(2, 9), range(5, 9)
_LIMIT, _readers, _kept = threading.Lock(), [], []  # type: ignore[var-annotated]


@dataclass(frozen=True)
class Header:
    """What the head of a file says: width and height as stored (before rotation), Pillow mode, format.

    `turned` says that EXIF rotation swaps width and height; it is known of decoded pictures only.
    """

    width: int
    height: int
    mode: str
    format: str
    turned: bool = False


@dataclass(frozen=True)
class Decoder:
    """Reads image files as uint8 (C, H, W); the instance holds the policies.

    Of an animation or a file of several pages the first picture counts; EXIF rotation is applied; colour
    profiles are ignored. JPEG files much larger than asked for are decoded at 1/2, 1/4 or 1/8 of their size,
    never below twice the target.

    Args:
        size: one number or (height, width); None keeps the size of the file.
        channels: 3, grey is repeated; or 1, colours become luma 0.299 R + 0.587 G + 0.114 B.
        fit: "crop" scales the picture to cover the size and cuts the overhang, centred; "pad" scales it to
            fit inside and fills the margin; "stretch" ignores its proportions.
        alpha: transparent pixels lie over "white" or "black" (the colour of padding too), or "drop" forgets
            transparency and keeps the stored colours (padding is black).
        depth: of grey deeper than 8 bits: "full" maps the full range linearly (0..65535, floats 0..1),
            "stretch" maps each picture's least..greatest value to 0..255. 16-bit colour keeps its high bytes.
        resample: "lanczos", "bicubic" and "box" are antialiased; "nearest" is for pixel art.
        max_pixels: larger pictures are refused from their header, before memory is taken; of a JPEG the size
            that is decoded counts, and of a progressive one half of its own. It stands in the place of
            Pillow's limit, ``PIL.Image.MAX_IMAGE_PIXELS``.

    Raises:
        ValueError: for an unknown policy. Reading raises `UnreadableImage` and nothing else.
    """

    size: Size | None = None
    channels: int = 3
    fit: str = "crop"
    alpha: str = "white"
    depth: str = "full"
    resample: str = "lanczos"
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", parse_size(self.size))
        choices = {"channels": (1, 3), "fit": FITS, "alpha": ALPHAS, "depth": DEPTHS, "resample": RESAMPLES}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        if self.max_pixels < 1:
            raise ValueError(f"max_pixels must be positive, got {self.max_pixels}")

    def __call__(self, source: str | Path | bytes) -> np.ndarray:
        """The picture in a file, or in the bytes of one, as uint8 (C, H, W)."""
        return self.read(source)[0]

    def read(self, source: str | Path | bytes) -> tuple[np.ndarray, Header]:
        """The picture and what its header says."""
        with open_binary(source) as handle:
            return self.read_handle(handle)

    def read_handle(self, handle: BinaryIO) -> tuple[np.ndarray, Header]:
        """As `read`, from an open binary file at its beginning."""
        with _reasons(handle), _image(handle, self.max_pixels, self.size) as (image, header):
            layout = stored_layout(image)
            image.load()
            orientation = _orientation(image)
            pixels = to_array(self._convert(image, handle, layout, orientation))
            return pixels, replace(header, turned=True) if orientation in _TURNED else header

    def _convert(self, image: "Image", handle: BinaryIO, layout: str, orientation: int) -> "Image":
        mask = opacity(image, layout, handle)
        image = to_eight_bits(_upright(image, orientation), self.depth)
        image = with_opacity(image, None if mask is None else _upright(mask, orientation))
        image = to_channels(flatten_alpha(image, self.alpha), self.channels)
        if isinstance(self.size, tuple):
            image = fit_to(image, self.size, self.fit, self.resample, background(self.alpha))
        return image


def read_header(
    source: str | Path | bytes, *, max_pixels: int = MAX_PIXELS, size: Size | None = None
) -> Header:
    """What the head of a file says, without decoding it; raises `UnreadableImage` like `Decoder`."""
    with open_binary(source) as handle, _reasons(handle), _image(handle, max_pixels, size) as (_, header):
        return header


@contextmanager
def open_binary(source: str | Path | bytes) -> Iterator[BinaryIO]:
    """The source as an open, non-empty, regular file; raises `UnreadableImage` with the reason otherwise."""
    if isinstance(source, bytes):
        if not source:
            raise UnreadableImage("empty file")
        yield io.BytesIO(source)
        return
    try:
        status = os.stat(source)
        # A pipe would block for ever, so only regular files are opened.
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImage(f"not a file: {_kind(status.st_mode)}")
        if status.st_size == 0:
            raise UnreadableImage("empty file")
        handle = open(source, "rb")  # noqa: SIM115 - closed below, after the caller is done
    except OSError as error:
        refuse_scarcity(error, f"opening {os.fsdecode(source)!r}")
        raise UnreadableImage(file_problem(error, source), passing=is_passing(error)) from error
    with handle:
        yield handle


def file_problem(error: OSError, path: str | Path) -> str:
    """The reason for a file that cannot be opened."""
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, FileNotFoundError):
        return "broken symbolic link" if os.path.islink(path) else "no such file"
    if "symbolic link" in (error.strerror or ""):
        return "symbolic link loop"
    return f"cannot be opened: {error.strerror or error}"


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silence Pillow's warnings about damaged and large pictures, which are reported as reasons instead.

    Enter it in the main thread around a pool of readers: warning filters are not per thread.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"


@contextmanager
def _image(handle: BinaryIO, max_pixels: int, size: Size | None) -> Iterator[tuple["Image", Header]]:
    """The image, set to be decoded at a fraction of its size if it is a JPEG, and its header as stored."""
    from PIL import Image

    Image.init()
    formats = [f for f in _FORMATS if f in Image.OPEN]
    with _one_limit(), Image.open(handle, formats=formats) as image:
        header = _header_of(image)
        wanted = parse_size(size)
        if wanted is not None:
            image.draft(None, _draft_size(image.size, wanted))  # type: ignore[arg-type]
        # Memory is taken for the fraction that is decoded; but by a progressive JPEG for the whole first.
        whole = header.width * header.height // 2 if image.info.get("progressive") else 0
        if max(whole, image.width * image.height) > max_pixels:
            raise UnreadableImage(
                f"too many pixels: {header.width} x {header.height}, more than max_pixels={max_pixels}"
            )
        yield image, header


@contextmanager
def _one_limit() -> Iterator[None]:
    """Pillow's own limit out of the way while any thread reads, so that ``max_pixels`` alone decides."""
    from PIL import Image

    with _LIMIT:
        if not _kept:
            _kept.append(Image.MAX_IMAGE_PIXELS)
            Image.MAX_IMAGE_PIXELS = None
        _readers.append(None)
    try:
        yield
    finally:
        with _LIMIT:
            _readers.pop()
            if not _readers:
                Image.MAX_IMAGE_PIXELS = _kept.pop()


@contextmanager
def _reasons(handle: BinaryIO) -> Iterator[None]:
    """Turn whatever Pillow raises into `UnreadableImage`: damage makes it raise almost anything."""
    from PIL import UnidentifiedImageError

    try:
        yield
    except (UnreadableImage, TooLittle):
        raise
    except UnidentifiedImageError as error:
        handle.seek(0)
        raise UnreadableImage(_not_an_image(handle.read(32))) from error
    except Exception as error:
        refuse_scarcity(error, f"reading {getattr(handle, 'name', 'an image')!r}")
        if isinstance(error, OSError) and error.errno is not None:  # of the disk; damage has no number
            reason = f"cannot be read: {error.strerror or error}"
            raise UnreadableImage(reason, passing=is_passing(error)) from error
        text = " ".join(str(error).split()) or type(error).__name__
        truncated = isinstance(error, EOFError | struct.error | zlib.error) or "truncated" in text.lower()
        unsupported = "not supported" in text or "unsupported" in text.lower()
        kind = "truncated file" if truncated else "unsupported kind" if unsupported else "damaged file"
        raise UnreadableImage(f"{kind}: {text}") from error


def _not_an_image(head: bytes) -> str:
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        return "unsupported kind: HEIC; install pillow-heif and call pillow_heif.register_heif_opener() first"
    if re.match(rb"\x89PNG|\xff\xd8|GIF8|RIFF|II\*|MM\x00|BM", head):
        return "damaged file: the head of an image without a readable picture"
    return f"not an image: begins with {head[:12]!r}"


def _header_of(image: "Image") -> Header:
    return Header(image.width, image.height, image.mode, image.format or "unknown")


def _draft_size(have: tuple[int, int], want: tuple[int, int]) -> tuple[int, int]:
    # The rotation is not known yet, so this covers the wanted size either way round, twice over.
    share = max(want) / min(have)
    return math.ceil(2 * have[0] * share), math.ceil(2 * have[1] * share)


def _orientation(image: "Image") -> int:
    """EXIF's number of a loaded picture's rotation, 1 for none."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:
        # Unreadable EXIF says nothing about the rotation; the picture itself is fine.
        return 1


def _upright(image: "Image", orientation: int) -> "Image":
    if orientation not in _ROTATED:  # ImageOps.exif_transpose would copy it
        return image
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image  # as in _orientation
