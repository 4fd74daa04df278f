"""Measurements as a user writes them: `superres:small.png`, `inpaint=mask.png:photo.png`, `cs=0.25:y.npy`."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from windvane.damage import reading
from windvane.operators import (
    BlockMean,
    CompressedSensing,
    GaussianBlur,
    Greyscale,
    Inpainting,
    Measured,
    MotionBlur,
    Operator,
)

_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "F")
OPERATIONS = {
    "inpaint": "inpaint=MASK:PICTURE, the mask white where the picture is known",
    "superres": "superres:SMALL, or superres=FACTOR:PICTURE",
    "blur": "blur=STD:BLURRED, STD in pixels",
    "motion-blur": "motion-blur=LENGTH@ANGLE:BLURRED",
    "grey": "grey:PICTURE",
    "cs": "cs=RATIO:VALUES.npy, or cs=RATIO:PICTURE to measure the picture",
}


def split_measure(text: str) -> tuple[str, str | None, str]:
    """`op=parameter:file` in its parts; costs nothing.

    Raises:
        ValueError: an unknown operation, or no file.
    """
    head, colon, file = text.partition(":")
    name, _, parameter = head.partition("=")
    if name not in OPERATIONS or not colon or not file:
        raise ValueError(f"a measurement is OP:FILE, got {text!r}; known: {'; '.join(OPERATIONS.values())}")
    return name, parameter or None, file


def measured_files(text: str) -> list[str]:
    """The files that a measurement names."""
    name, parameter, file = split_measure(text)
    return [file, parameter] if name == "inpaint" and parameter else [file]


def open_measure(text: str, shape: Sequence[int]) -> Measured:
    """The measurement that `text` names, for images of ``shape`` (C, H, W).

    A picture of full size is measured first where the values would have another shape (superres, grey, cs).
    One of any other size goes the way of training images, scaled and cropped at the centre, and is measured.

    Raises:
        ValueError: an operation, parameter or file that does not fit.
    """
    name, parameter, file = split_measure(text)
    values = read_values(Path(file))
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{file} holds NaN or infinity; a measurement's values must be finite")
    operator = _operator(name, parameter, values, tuple(shape))
    probe = operator(torch.zeros(1, *shape))
    y = _fitting(values, probe.shape[1:])
    if y is None:
        full = _fitting(values, shape)
        if full is None and Path(file).suffix != ".npy":
            full = read_picture(Path(file), shape)
        if full is None:
            raise ValueError(
                f"{file} has shape {tuple(values.shape)}; {name} needs {tuple(probe.shape[1:])}, or a "
                f"picture {tuple(shape)} to measure"
            )
        y = operator(full[None])[0]
    if name == "inpaint":
        y = operator(y[None])[0]
    return Measured(operator, y[None], f"{name}:{Path(file).name}")


def read_values(path: Path) -> Tensor:
    """A picture as (C, H, W) in [-1, 1], or the array of a .npy file as it is."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if path.suffix == ".npy":
        import numpy as np

        with reading(path):
            return torch.from_numpy(np.load(path, allow_pickle=False)).float()
    return read_picture(path)


def read_picture(
    path: Path, shape: Sequence[int] | None = None, *, channels: int | None = None, resample: str = "lanczos"
) -> Tensor:
    """A picture file as float32 (C, H, W) in [-1, 1], decoded as the loader decodes images.

    That is upright, transparency over white and 16 bits as 8.

    Args:
        path: the file.
        shape: the size (C, H, W) it is scaled and cropped to; default its own.
        channels: of a picture in its own size, 1 or 3; default 1 for grey ones, 3 for others.
        resample: as in `Decoder`.

    Raises:
        ValueError: nothing there, or nothing that can be read.
    """
    from windvane.data import Decoder, UnreadableImage
    from windvane.data.decode import read_header

    if not path.is_file():
        raise ValueError(f"there is no picture {path}")
    try:
        if shape is None:
            channels = channels or (1 if read_header(path).mode in _GREY else 3)
            decode = Decoder(channels=channels)
        else:
            decode = Decoder(size=(shape[1], shape[2]), channels=shape[0], resample=resample)
        return torch.from_numpy(decode(path).copy()).float() / 127.5 - 1
    except UnreadableImage as error:
        raise ValueError(f"{path} is not a readable picture: {error.reason}") from None


def _operator(name: str, parameter: str | None, values: Tensor, shape: tuple[int, ...]) -> Operator:
    if name == "inpaint":
        if parameter is None:
            raise ValueError(f"inpainting needs a mask: {OPERATIONS[name]}")
        return Inpainting(read_picture(Path(parameter), (1, *shape[1:]), resample="box") > 0)
    if name == "superres":
        return BlockMean(_factor(parameter, values, shape))
    if name == "blur":
        return GaussianBlur(_number(name, parameter))
    if name == "motion-blur":
        length, _, angle = (parameter or "").partition("@")
        return MotionBlur(_number(name, length), _number(name, angle or "0"))
    if name == "cs":
        return CompressedSensing(shape, _number(name, parameter))
    if shape[0] != 3:
        raise ValueError(f"grey is a measurement of colour images; this model makes images {shape}")
    return Greyscale()


def _factor(parameter: str | None, values: Tensor, shape: tuple[int, ...]) -> int:
    if parameter is not None:
        wanted = _number("superres", parameter)
        if wanted != int(wanted):
            raise ValueError(f"superres needs a whole factor, got {parameter}: {OPERATIONS['superres']}")
        return int(wanted)
    factor = shape[-1] // max(values.shape[-1], 1)
    if factor < 2 or values.shape[-1] * factor != shape[-1]:
        raise ValueError(
            f"a picture {values.shape[-1]} pixels wide does not divide the model's {shape[-1]}; "
            "name the factor: superres=2:PICTURE"
        )
    return factor


def _number(name: str, parameter: str | None) -> float:
    """The number that a parameter is.

    Raises:
        ValueError: none, or one that is not finite.
    """
    try:
        number = float(parameter or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} needs a number, got {parameter!r}: {OPERATIONS[name]}")
    return number


def _fitting(values: Tensor, shape: Sequence[int]) -> Tensor | None:
    """The values in this shape: as they are, with a channel put before them, or grey in every channel."""
    shape = tuple(shape)
    if tuple(values.shape) == shape:
        return values
    if tuple(values.shape) == shape[1:]:
        return values[None].expand(shape)
    if len(shape) == 3 and values.ndim == 3 and tuple(values.shape[1:]) == shape[1:]:
        return values.mean(0, keepdim=True).expand(shape)
    return None
