"""Writing image data where other programs, and `open_data`, can read them."""

import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from windvane.data.errors import missing_package
from windvane.data.images import ImageData
from windvane.files import atomic_file
from windvane.progress import track

_ROWS_AT_ONCE = 256


def to_folder(
    data: ImageData, path: str | Path, *, labels: str | None = "folders", progress: bool = True
) -> Path:
    """Write one PNG per image; the folder appears when all are written.

    Files are called 000000.png, 000001.png, … so that the order is kept, also within each class.

    Args:
        data: images of 1 or 3 channels; float values are rounded to 8 bits.
        path: folder to make; it must be missing or empty.
        labels: "folders" puts each class into a sub-folder of its name; None, or data without labels, makes
            a flat folder.
        progress: show a bar.

    Raises:
        ValueError: if the folder has contents, for vectors or another number of channels, or if class names
            cannot be told apart as folder names.
    """
    target = Path(path)
    if labels not in ("folders", None):
        raise ValueError(f'labels must be "folders" or None, got {labels!r}')
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{str(target)!r} exists and is not an empty folder; give a new name")
    _check_channels(data)
    places = _class_folders(data) if labels is not None and data.labels is not None else {}
    ids = data.labels.tolist() if data.labels is not None else [-1] * len(data)
    digits = max(len(str(len(data) - 1)), 6)
    with _appearing(target) as temporary:
        for place in places.values():
            (temporary / place).mkdir()
        pictures = track(_pngs(data), "writing images", total=len(data), enabled=progress)
        for i, png in enumerate(pictures):
            (temporary / places.get(ids[i], "") / f"{i:0{digits}d}.png").write_bytes(png)
    return target


def to_parquet(data: ImageData, path: str | Path, *, labels: bool = True, progress: bool = True) -> Path:
    """Write one parquet file in the hub's layout: a column ``image`` of {bytes, path} and a column ``label``.

    The pictures are PNG files; class names are kept in the schema's metadata, as `datasets` writes them.

    Args:
        data: images of 1 or 3 channels; float values are rounded to 8 bits.
        path: file to write; replaced at once if it exists.
        labels: False leaves the labels out.
        progress: show a bar.

    Raises:
        MissingPackage: without pyarrow.
        ValueError: for vectors or another number of channels.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetWriter
    except ImportError as error:
        raise missing_package("pyarrow", "writing parquet", "write a folder of images") from error
    _check_channels(data)
    with_labels = labels and data.labels is not None
    features: dict[str, dict[str, object]] = {"image": {"_type": "Image"}}
    picture = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    fields = [pyarrow.field("image", picture)]
    if with_labels:
        named = data.label_names is not None
        features["label"] = (
            {"names": data.label_names, "_type": "ClassLabel"}
            if named
            else {"dtype": "int64", "_type": "Value"}
        )
        fields.append(pyarrow.field("label", pyarrow.int64()))
    schema = pyarrow.schema(fields, {"huggingface": json.dumps({"info": {"features": features}})})
    pictures = track(_pngs(data), "writing images", total=len(data), enabled=progress)
    with atomic_file(path) as temporary, ParquetWriter(temporary, schema) as writer:
        for begin in range(0, len(data), _ROWS_AT_ONCE):
            end = min(begin + _ROWS_AT_ONCE, len(data))
            cells = [{"bytes": next(pictures), "path": data.names[i]} for i in range(begin, end)]
            columns: list[object] = [cells]
            if data.labels is not None and with_labels:
                columns.append(data.labels[begin:end].tolist())
            writer.write_table(pyarrow.table(columns, schema=schema))
    return Path(path)


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    # Unlike files.atomic_folder this does not wait for the disk after each of many thousand small files: an
    # export can be made again, and a killed one leaves no folder of that name.
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        if target.exists():
            target.rmdir()
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _check_channels(data: ImageData) -> None:
    if len(data.shape) != 3 or data.shape[0] not in (1, 3):
        raise ValueError(f"only images of 1 or 3 channels can be written, these rows have shape {data.shape}")


def _pngs(data: ImageData) -> Iterator[bytes]:
    from PIL import Image

    for begin in range(0, len(data), _ROWS_AT_ONCE):
        for pixels in data.pixels(slice(begin, begin + _ROWS_AT_ONCE)):
            last = pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
            buffer = io.BytesIO()
            Image.fromarray(last).save(buffer, "PNG")
            yield buffer.getvalue()


def _class_folders(data: ImageData) -> dict[int, str]:
    names = data.label_names or [str(k) for k in range(len(data.label_counts()))]
    places = {k: re.sub(r"[^\w.+-]+", "_", name).strip("._") or "_" for k, name in enumerate(names)}
    if len(set(places.values())) < len(places):
        raise ValueError(f"class names cannot be told apart as folder names: {sorted(names)[:20]}")
    return places
