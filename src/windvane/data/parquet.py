"""Images in parquet files, in the layout of the Hugging Face hub."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from windvane.data.cache import files_digest
from windvane.data.columns import find_images, find_labels
from windvane.data.decode import MAX_PIXELS, Decoder
from windvane.data.errors import missing_package
from windvane.data.images import ImageData
from windvane.data.inspection import Entry
from windvane.data.pixels import Size
from windvane.data.table_rows import ROWS_AT_ONCE, entries_of_blocks, images_of_rows

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyarrow.parquet import ParquetFile


def from_parquet(
    path: str | Path,
    size: Size | None = None,
    channels: int | None = None,
    *,
    labels: bool = True,
    image_column: str | None = None,
    label_column: str | None = None,
    cache: str | Path | None = None,
    strict: bool = False,
    fit: str = "crop",
    alpha: str = "white",
    depth: str = "full",
    resample: str = "lanczos",
    max_pixels: int = MAX_PIXELS,
    workers: int | None = None,
    progress: bool = True,
) -> ImageData:
    """The images of a parquet file, of all those in a folder, or of a pattern such as ``train-*.parquet``.

    The image column holds image files as binary, or as the hub's struct {bytes, path}; where bytes are
    missing the path is read, relative to the parquet file. Rows that cannot be read are left out and named,
    as "file.parquet:row", in the result's ``scan``. Files are read a few rows at a time.

    Args:
        path: file, folder of shards, or pattern; several files are read in the order of their names.
        size: one number or (height, width); None if all pictures have the same size already.
        channels: 1 or 3; None follows the pictures: 1 where all are stored as grey, else 3.
        labels: False leaves labels out; they are for evaluation only.
        image_column, label_column: their names; by default found by type and usual name.
        cache: folder that keeps the decoded pictures, see `from_folder`; None keeps them in memory.
        strict: raise if a row cannot be read.
        fit, alpha, depth, resample, max_pixels: as in `Decoder`.
        workers: threads that decode; default the number of cores, at most 8.
        progress: show a bar.

    Raises:
        MissingPackage: without pyarrow (a ValueError and an ImportError).
        ValueError: if there is no such file, it is no parquet, has no image column or no readable row, for an
            unknown setting, or with `strict` naming the first unreadable rows.
    """
    decoder = Decoder(size, channels or 3, fit, alpha, depth, resample, max_pixels)
    paths = _shards(path)
    files = [_opened(shard) for shard in paths]
    schema = files[0].schema_arrow
    columns = (find_images(schema, image_column), find_labels(schema, label_column) if labels else None)
    for shard, file in zip(paths, files):
        missing = {c for c in columns if c is not None} - set(file.schema_arrow.names)
        if missing:
            raise ValueError(f"{str(shard)!r} has no column {sorted(missing)}, unlike {paths[0].name!r}")
    total = sum(file.metadata.num_rows for file in files)

    return images_of_rows(
        lambda: _entries(paths, files, columns),
        schema,
        columns,
        decoder,
        root=str(path),
        total=total,
        identity={
            "source": "parquet",
            "files": files_digest(paths[0].parent, ((str(shard), shard.stat()) for shard in paths)),
        },
        cache=cache,
        follow=channels is None,
        strict=strict,
        workers=workers,
        progress=progress,
    )


def _shards(path: str | Path) -> list[Path]:
    here = Path(path)
    if here.is_dir():
        found = sorted(p for p in here.rglob("*.parquet") if not p.name.startswith("."))
    elif here.exists():
        found = [here]
    else:
        found = sorted(Path(p) for p in glob.glob(str(path), recursive=True))
    if not found:
        raise ValueError(
            f"no parquet file at {str(path)!r}; give a file, a folder of *.parquet, or a pattern"
        )
    return found


def _opened(path: Path) -> "ParquetFile":
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise missing_package(
            "pyarrow", "reading parquet", "use a folder of images or .npy arrays"
        ) from error
    try:
        return ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{str(path)!r} cannot be read as parquet: {error}") from error


def _entries(
    paths: Sequence[Path], files: Sequence["ParquetFile"], columns: tuple[str, str | None]
) -> Iterator[Entry]:
    for path, file in zip(paths, files):
        blocks = _blocks(path, file, [name for name in columns if name is not None])
        yield from entries_of_blocks(blocks, path.name, columns, path.parent)


def _blocks(path: Path, file: "ParquetFile", columns: list[str]) -> Iterator["RecordBatch"]:
    from pyarrow import ArrowException

    try:
        yield from file.iter_batches(batch_size=ROWS_AT_ONCE, columns=columns)
    except (ArrowException, OSError) as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from error
