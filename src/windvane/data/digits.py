"""The embedded default: the handwritten digits that come with scikit-learn."""

import importlib.util
from pathlib import Path

import numpy as np

from windvane.data.images import ImageData
from windvane.data.pixels import Size
from windvane.data.resize import resized


def digits(size: Size | None = None, channels: int = 1) -> ImageData:
    """1,797 handwritten digits, (1, 8, 8), with labels 0 to 9.

    Stored values v in 0..16 become v / 8 - 1, exactly. The pictures are the test part of the optical
    recognition set of the UCI repository (Alpaydin and Kaynak, 1998), bundled with scikit-learn: no download.

    Args:
        size: another size, one number or (height, width), see `resized`; None keeps 8 x 8.
        channels: 1 or 3.
    """
    # The file itself: scikit-learn's loader imports scipy and more, as much time as torch takes.
    table = np.loadtxt(bundled("data/digits.csv.gz"), delimiter=",", dtype=np.float64)
    data = ImageData(
        (table[:, :-1].reshape(-1, 1, 8, 8) / 8 - 1).astype(np.float32),
        labels=table[:, -1].astype(np.int64),
        label_names=[str(k) for k in range(10)],
    )
    data.origin, data.names_from = "digits", "the embedded digits"
    return resized(data, size, channels)


def train_and_held_out(
    data: ImageData, held_out: float = 1 / 3, seed: int = 0
) -> tuple[ImageData, ImageData]:
    """Two random disjoint parts that together are everything: for training, and for measuring against.

    The default leaves 1,198 of the digits for training and 599 held out.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is a share between 0 and 1, got {held_out}")
    train, rest = data.split((1 - held_out, held_out), seed)
    return train, rest


def bundled(name: str) -> Path:
    """A file of the data sets that come with scikit-learn, found without importing it.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
    return Path(spec.submodule_search_locations[0]) / "datasets" / name
