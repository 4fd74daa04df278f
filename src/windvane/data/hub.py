"""Images of a data set of the Hugging Face hub, through the package made for it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.data.columns import find_images, find_labels
from windvane.data.decode import MAX_PIXELS, Decoder
from windvane.data.errors import missing_package
from windvane.data.images import ImageData
from windvane.data.pixels import Size
from windvane.data.table_rows import ROWS_AT_ONCE, entries_of_blocks, images_of_rows
from windvane.hub_access import kept_offline, plain_name, ways

if TYPE_CHECKING:
    from datasets import Dataset

_OFFLINE = (
    "Without the hub, give a folder of images, or download the data set's parquet files elsewhere and give "
    "their path"
)


def from_hub(
    name: str,
    split: str = "train",
    size: Size | None = None,
    channels: int | None = None,
    *,
    config: str | None = None,
    revision: str | None = None,
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
    """The images of a hub data set, or of a local folder that ``datasets.load_dataset`` can open.

    The `datasets` package downloads and keeps the files (its own cache works offline afterwards); the
    pictures are decoded here, with the same policies as everywhere.

    Args:
        name: "hub:owner/name", or a local folder; a name without ``hub:`` may be a mistyped path, and is
            looked for on this machine only.
        split: which part, such as "train", "test" or "train[:1000]".
        size, channels: as in `from_parquet`.
        config: which configuration, for data sets that have several.
        revision: branch, tag or commit.
        labels, image_column, label_column, cache, strict, fit, alpha, depth, resample, max_pixels, workers,
            progress: as in `from_parquet`.

    Raises:
        MissingPackage: without the package `datasets` (a ValueError and an ImportError).
        ValueError: if the data set cannot be loaded (unknown name, no network), with what works offline; and
            as in `from_parquet`.
    """
    decoder = Decoder(size, channels or 3, fit, alpha, depth, resample, max_pixels)
    dataset = _load(name, split, config, revision)
    name = plain_name(name)
    schema = dataset.features.arrow_schema
    columns = (find_images(schema, image_column), find_labels(schema, label_column) if labels else None)

    rows: Any = dataset.select_columns([column for column in columns if column is not None])
    place = f"{name}:{split}"
    return images_of_rows(
        # The arrow format yields cells as stored: image files stay undecoded.
        lambda: entries_of_blocks(rows.iter(batch_size=ROWS_AT_ONCE), place, columns, None),
        schema,
        columns,
        decoder,
        root=name,
        total=len(dataset),
        # The package's own fingerprint changes with the content of the data set.
        identity={"source": "hub", "name": name, "split": split, "content": dataset._fingerprint},
        cache=cache,
        follow=channels is None,
        strict=strict,
        workers=workers,
        progress=progress,
    )


def _load(name: str, split: str, config: str | None, revision: str | None) -> "Dataset":
    try:
        import datasets
    except ImportError as error:
        raise missing_package("datasets", "loading from the hub", _OFFLINE) from error
    tries, where = ways(name, None)
    try:
        with kept_offline(asked=tries[-1] is False):
            dataset = datasets.load_dataset(plain_name(name), config, split=split, revision=revision)
    except Exception as error:
        # The package and what lies below it raise a dozen unrelated types for a missing network or name.
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"cannot load {name!r}, split {split!r}{where}: {first_line}. {_OFFLINE}."
        ) from error
    return dataset.with_format("arrow")
