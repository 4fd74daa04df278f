"""Another size or number of channels for images that are loaded already."""

import numpy as np
import torch
from torch.nn.functional import interpolate

from windvane.data.images import ImageData
from windvane.data.pixels import Size, parse_size

_LUMA = (0.299, 0.587, 0.114)
_ROWS_AT_ONCE = 512


def resized(data: ImageData, size: Size | None = None, channels: int | None = None) -> ImageData:
    """The images at another size (bicubic, antialiased, proportions not kept) and with 1 or 3 channels.

    One channel becomes three equal ones; three become luma 0.299 R + 0.587 G + 0.114 B. 8-bit data stay so.

    Raises:
        ValueError: for vectors, or from another number of channels than 1 and 3 to a different one.
    """
    if size is None and channels is None:
        return data
    if len(data.shape) != 3:
        raise ValueError(f"only images have a size and channels, these rows have shape {data.shape}")
    target = parse_size(size) or data.shape[1:]
    channels = channels or data.shape[0]
    if channels != data.shape[0] and {channels, data.shape[0]} != {1, 3}:
        raise ValueError(f"channels can change between 1 and 3, not from {data.shape[0]} to {channels}")
    if (channels, *target) == data.shape:
        return data
    rows = np.empty((len(data), channels, *target), data.dtype)
    for begin in range(0, len(data), _ROWS_AT_ONCE):
        x = data.batch(slice(begin, begin + _ROWS_AT_ONCE))
        if channels == 1 and x.shape[1] == 3:
            x = (x * torch.tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
        if target != data.shape[1:]:
            x = interpolate(x, size=target, mode="bicubic", antialias=True, align_corners=False)
        x = x.clamp(-1, 1)
        part = ((x + 1) * 127.5).round().numpy().astype(np.uint8) if rows.dtype == np.uint8 else x.numpy()
        rows[begin : begin + len(part)] = part
    made = ImageData(rows, labels=data.labels, label_names=data.label_names, names=data.names, scan=data.scan)
    made.origin, made.names_from = data.origin, data.names_from
    return made
