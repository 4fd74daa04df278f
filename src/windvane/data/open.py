"""One way to open whatever holds images."""

from pathlib import Path
from typing import Any

from windvane.arguments import location
from windvane.data.arrays import from_arrays
from windvane.data.decode import MAX_PIXELS
from windvane.data.digits import digits
from windvane.data.folder import from_folder
from windvane.data.hub import from_hub
from windvane.data.images import ImageData
from windvane.data.name_list import with_names
from windvane.data.parquet import from_parquet
from windvane.data.photographs import natural_patches
from windvane.data.pixels import Size
from windvane.data.resize import resized

WHAT_WORKS = (
    'what works: "digits"; "natural" or "natural:2000"; a folder of images; a .parquet file, a folder of '
    'them or a pattern such as "data/train-*.parquet"; a .npy or .npz file; "hub:owner/name" or '
    '"hub:owner/name:split"'
)


def open_data(
    spec: str | Path,
    *,
    size: Size | None = None,
    channels: int | None = None,
    labels: bool | str = True,
    names: str | Path | None = None,
    cache: str | Path | None = None,
    strict: bool = False,
    fit: str = "crop",
    alpha: str = "white",
    depth: str = "full",
    max_pixels: int = MAX_PIXELS,
    image_column: str | None = None,
    label_column: str | None = None,
    layout: str | None = None,
    value_range: tuple[float, float] | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> ImageData:
    """Open image data by what they are.

    ============================================  =========================
    "digits"                                      `digits`
    "natural", "natural:N"                        `natural_patches`, N = 2000 unless given
    "hub:NAME", "hub:NAME:SPLIT"                  `from_hub`, SPLIT = train unless given
    a folder of images                            `from_folder`
    .parquet file, folder of them, pattern        `from_parquet`
    .npy or .npz file                             `from_arrays`
    ============================================  =========================

    A folder or file of one of the reserved names is opened as "./digits".

    Args:
        spec: one of the above.
        size: one number or (height, width); None keeps the size of the source, which all pictures must share.
        channels: 1 or 3; None follows the data: the channels of arrays and digits, 1 for image files all
            of which are stored as grey (or with a palette of greys), 3 for others.
        labels: "none" or False drops the labels; "folders" takes sub-folders as classes whatever they are
            called; "auto" or True only where they look like classes, or where `names` are given. They are for
            evaluation only.
        names: a file with the names of the classes, which go before those of the data; see `with_names`.
        cache, strict, fit, alpha, depth, max_pixels, workers: as in `from_folder`; they concern image files.
        image_column, label_column: as in `from_parquet`, of parquet files and the hub.
        layout, value_range: as in `from_arrays`.
        progress: show a bar.

    Raises:
        ValueError: for anything else, with the list of what works; and as the functions above.
    """
    if labels not in (True, False, "auto", "folders", "none"):
        raise ValueError(f'labels must be "auto", "folders" or "none", got {labels!r}')
    if spec == "":
        raise ValueError(f"'' names no data; {WHAT_WORKS}")
    text = str(location(spec, "the data, by name or"))
    kind, _, rest = text.partition(":")
    path = Path(text)
    decoding: dict[str, Any] = {
        "cache": cache, "strict": strict, "fit": fit, "alpha": alpha, "depth": depth,
        "max_pixels": max_pixels, "workers": workers, "progress": progress,
    }  # fmt: skip
    if text == "digits" or (kind == "natural" and isinstance(spec, str)):
        data = digits() if text == "digits" else natural_patches(_count(text, rest), size or 32)
        data = resized(data, size, channels)
    elif kind == "hub" and rest:
        name, _, split = rest.partition(":")
        data = from_hub(
            f"{kind}:{name}",
            split or "train",
            size,
            channels,
            image_column=image_column,
            label_column=label_column,
            **decoding,
        )
    elif path.suffix.lower() in (".npy", ".npz") and path.is_file():
        data = resized(from_arrays(path, layout=layout, value_range=value_range), size, channels)
    elif _is_parquet(path):
        data = from_parquet(
            path,
            size,
            channels,
            image_column=image_column,
            label_column=label_column,
            **decoding,
        )
    elif path.is_dir():
        data = from_folder(
            path,
            size,
            channels,
            labels="folders" if labels == "folders" or (names and labels in (True, "auto")) else "auto",
            **decoding,
        )
    else:
        why = "of a kind that is not known" if path.exists() else "not there"
        raise ValueError(f"{text!r} is {why}; {WHAT_WORKS}")
    if labels in (False, "none"):
        data.labels, data.label_names, data.names_from = None, None, None
    return data if names is None else with_names(data, names)


def _count(spec: str, rest: str) -> int:
    if rest == "" and ":" not in spec:
        return 2000
    if not rest.isdecimal():
        raise ValueError(f"{spec!r} should be natural:N with a whole number N")
    return int(rest)


def _is_parquet(path: Path) -> bool:
    if path.is_dir():
        return any(path.glob("*.parquet"))
    return path.suffix.lower() == ".parquet"
