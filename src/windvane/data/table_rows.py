"""Images in the rows of tables: parquet files, and data sets of the hub."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from windvane.data.cache import Contents, open_or_build
from windvane.data.collect import collect
from windvane.data.columns import class_names, names_source
from windvane.data.decode import Decoder
from windvane.data.images import ImageData
from windvane.data.inspection import Entry
from windvane.data.labels import to_ids
from windvane.data.row_store import RowStore

#: Rows that are read together.
ROWS_AT_ONCE = 128


def images_of_rows(
    entries: Callable[[], Iterable[Entry]],
    schema: Any,
    columns: tuple[str, str | None],
    decoder: Decoder,
    *,
    root: str,
    total: int,
    identity: Mapping[str, Any],
    cache: str | Path | None,
    follow: bool,
    strict: bool,
    workers: int | None,
    progress: bool,
) -> ImageData:
    """The images of all rows, decoded, or from the cache, which reads no row.

    Args:
        entries: one for each row, called where the cache has none.
        schema: pyarrow's, which may hold the names of the classes.
        columns: of the images and of the labels.
        identity: with the columns and the decoder, what the cache knows the images by.
        follow: the channels follow the pictures.
    """

    def build(store: RowStore) -> Contents:
        collected = collect(
            entries(), store, decoder=decoder, root=root, total=total, workers=workers, progress=progress
        )
        ids, names = to_ids(collected.labels, class_names(schema, columns[1]))
        return Contents(ids, names, collected.scan, collected.passing)

    known = {**identity, "columns": columns, "decoder": asdict(decoder)}
    data = open_or_build(build, capacity=total, cache=cache, identity=known, follow=follow)
    data.names_from = names_source(schema, columns[1], data.label_names)
    if data.scan is not None:
        data.scan = replace(data.scan, root=root)
        if strict:
            data.scan.refuse_unreadable()
    return data


def entries_of_blocks(
    blocks: Iterable[Any], place: str, columns: tuple[str, str | None], folder: Path | None
) -> Iterator[Entry]:
    """The rows of blocks of pyarrow, named ``place:row``."""
    image, label = columns
    row = 0
    for block in blocks:
        pictures = block.column(image).to_pylist()
        labels = [None] * len(pictures) if label is None else block.column(label).to_pylist()
        for picture, its_label in zip(pictures, labels):
            yield entry_of(f"{place}:{row}", picture, its_label, folder)
            row += 1


def entry_of(place: str, picture: Any, label: int | str | None, folder: Path | None) -> Entry:
    """One cell of an image column as an entry: bytes, a struct {bytes, path}, or nothing.

    The path in a struct names the picture; it is read only where the bytes are missing.
    """
    if not isinstance(picture, dict):
        picture = {"bytes": picture}
    path = picture.get("path") or None
    name = path or place
    if picture["bytes"] is not None:
        return Entry(name, picture["bytes"], label, place=place)
    if path is not None and folder is not None:
        return Entry(name, folder / path, label, place=place)
    return Entry(name, None, label, problem="no data: neither bytes nor a file", place=place)
