"""NumPy arrays and their files as image data."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from windvane.damage import Damaged, check_inflation
from windvane.data.images import ImageData
from windvane.data.labels import one_label_each, to_ids

LAYOUTS = ("NCHW", "NHWC", "NHW", "ND")

_IMAGE_KEYS = ("images", "image", "x", "X", "data", "x_train", "arr_0")
_LABEL_KEYS = ("labels", "label", "y", "Y", "target", "targets", "y_train")
_NAME_KEYS = ("label_names", "class_names")


def from_arrays(
    source: np.ndarray | Tensor | str | Path,
    labels: Sequence[int | str] | np.ndarray | Tensor | None = None,
    *,
    label_names: Sequence[str] | None = None,
    layout: str | None = None,
    value_range: tuple[float, float] | None = None,
) -> ImageData:
    """Images, or vectors, from an array, a .npy file (memory-mapped) or a .npz file.

    Layout, unless stated: two axes are vectors "ND"; three are grey images "NHW"; four are "NCHW" or "NHWC"
    by which of axes 1 and 3 is at most 4 long, and have to be stated when both or neither are.

    Values, unless `value_range` = (low, high) states which values mean black and white: uint8 is 0..255 and
    is kept as it is; bool is 0 and 1; floats are [-1, 1] if any is negative and [0, 1] otherwise. Vectors
    keep their values as float32 unless a range is stated. Stated ranges are mapped linearly to [-1, 1].

    Args:
        source: array, tensor or path. In a .npz the images are called "images", "x", "data", … or are the
            only array, labels "labels", "y", …, and texts that name the classes "label_names" or
            "class_names".
        labels: (n,) class ids (-1 for none) or texts, for evaluation only.
        label_names: name of class k at position k.
        layout: "NCHW", "NHWC", "NHW" or "ND".
        value_range: (low, high) of the values given.

    Raises:
        ValueError: for values that are not finite, outside their range or of another kind (integers need
            `value_range`), for a layout that does not fit or cannot be told, or an unreadable file.
    """
    values, its_labels, its_names = _loaded(source)
    values = _channels_first(values, layout)
    given = labels if labels is not None else its_labels
    ids, names, names_from = None, None, None
    if given is not None:
        if isinstance(given, Tensor):
            given = given.detach().cpu().numpy()
        own = its_names if labels is None and label_names is None else None
        listed = one_label_each(given)
        if listed is not None:
            ids, names = to_ids(listed, label_names if own is None else own)
        if names is not None and label_names is None:
            names_from = f"the {'values of the labels' if own is None else 'names'} in the file"
    made = ImageData(_scaled(values, value_range), labels=ids, label_names=names)
    made.names_from = names_from if isinstance(source, str | Path) and labels is None else None
    return made


def _loaded(
    source: np.ndarray | Tensor | str | Path,
) -> tuple[np.ndarray, np.ndarray | None, list[str] | None]:
    """Values, labels and names of classes."""
    if isinstance(source, Tensor):
        values = source.detach().cpu()
        return (values.float() if source.is_floating_point() else values).numpy(), None, None
    if isinstance(source, np.ndarray):
        return source, None, None
    path = Path(source)
    try:
        # Pictures of one colour shrink a thousandfold: what is small once opened always passes.
        check_inflation(path, ratio=100, free=2**30)
        loaded = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded, None, None
        with loaded as archive:
            arrays = {key: archive[key] for key in archive.files}
    except Damaged:
        raise
    except Exception as error:
        # A damaged archive can raise from zipfile, zlib or NumPy; what is unknown is a pickle to NumPy.
        pickled = "pickle" in str(error) or "objects" in str(error)
        why = "it holds no numbers, or Python objects, which could run code" if pickled else error
        raise ValueError(f"{str(path)!r} cannot be read as .npy or .npz: {why}") from error
    key = next((k for k in _IMAGE_KEYS if k in arrays), None)
    if key is None and len(arrays) == 1:
        key = next(iter(arrays))
    if key is None:
        raise ValueError(f"{str(path)!r} holds arrays {sorted(arrays)}; call the images one of {_IMAGE_KEYS}")
    labels = next((arrays[k] for k in _LABEL_KEYS if k in arrays and k != key), None)
    named = (arrays[k] for k in _NAME_KEYS if k in arrays and arrays[k].ndim == 1)
    names = next((one.tolist() for one in named if one.dtype.kind == "U"), None)
    return arrays[key], labels, names


def _channels_first(values: np.ndarray, layout: str | None) -> np.ndarray:
    axes = {2: "ND", 3: "NHW"}
    if layout is None:
        layout = axes.get(values.ndim)
        if values.ndim == 4 and (values.shape[1] <= 4) != (values.shape[3] <= 4):
            layout = "NCHW" if values.shape[1] <= 4 else "NHWC"
        if layout is None:
            raise ValueError(
                f"the layout of shape {values.shape} cannot be told; state layout= as one of {LAYOUTS}"
            )
    if layout not in LAYOUTS or len(layout) != values.ndim:
        raise ValueError(f"layout {layout!r} does not fit shape {values.shape}; layouts: {LAYOUTS}")
    if 0 in values.shape:
        raise ValueError(f"an array of shape {values.shape} holds no data")
    if layout == "NHW":
        return values[:, None]
    return np.moveaxis(values, 3, 1) if layout == "NHWC" else values


def _scaled(values: np.ndarray, value_range: tuple[float, float] | None) -> np.ndarray:
    if value_range is None:
        if values.dtype == np.uint8 and values.ndim == 4:
            return values
        value_range = _detected(values)
        if value_range is None:
            return np.ascontiguousarray(values, dtype=np.float32)
    low, high = (float(v) for v in value_range)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"value_range must be (low, high) with low < high, got {value_range}")
    least, most = _extremes(values)
    slack = 1e-6 * (high - low)
    if least < low - slack or most > high + slack:
        raise ValueError(f"values from {least:g} to {most:g} exceed value_range ({low:g}, {high:g})")
    if values.dtype == np.uint8 and values.ndim == 4 and (low, high) == (0, 255):
        return values
    if values.dtype == np.float32 and (low, high) == (-1, 1):
        return values
    scaled = (values.astype(np.float64) - low) * (2 / (high - low)) - 1
    return np.clip(scaled, -1, 1).astype(np.float32)


def _detected(values: np.ndarray) -> tuple[float, float] | None:
    if values.dtype == bool:
        return 0.0, 1.0
    if values.ndim == 2 and values.dtype.kind in "fiu":
        _extremes(values)
        return None
    if values.dtype.kind != "f":
        raise ValueError(f"values of type {values.dtype} need value_range=(low, high)")
    least, most = _extremes(values)
    if least >= 0 and most <= 1 + 1e-6:
        return 0.0, 1.0
    if least >= -1 - 1e-6 and most <= 1 + 1e-6:
        return -1.0, 1.0
    raise ValueError(
        f"float images are expected in [0, 1] or [-1, 1], got values from {least:g} to {most:g}; "
        "state value_range=(low, high)"
    )


def _extremes(values: np.ndarray) -> tuple[float, float]:
    if values.dtype.kind not in "fiub":
        raise ValueError(f"values must be real numbers, got {values.dtype}")
    least, most = float(values.min()), float(values.max())
    if not (np.isfinite(least) and np.isfinite(most)):
        raise ValueError("values contain NaN or infinity")
    return least, most
