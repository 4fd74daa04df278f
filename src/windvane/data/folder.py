"""A folder of images of any kind, flat or nested."""

from dataclasses import asdict, replace
from pathlib import Path

from windvane.data.cache import Contents, files_digest, open_or_build
from windvane.data.collect import collect
from windvane.data.decode import MAX_PIXELS, Decoder
from windvane.data.folder_labels import folder_labels, why_no_classes
from windvane.data.images import ImageData
from windvane.data.listing import list_images, nothing_found
from windvane.data.pixels import Size
from windvane.data.row_store import RowStore
from windvane.data.scan import entries_of


def from_folder(
    path: str | Path,
    size: Size | None,
    channels: int | None = None,
    *,
    labels: str | None = "auto",
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
    """All images below a folder, as one set of one size, sorted by relative name.

    Images that cannot be read are left out; the result's ``scan`` names them with reasons, counts what was
    ignored and flags duplicates. If at least two top-level sub-folders hold readable images and look like
    classes, their names become labels for evaluation (-1 for images outside any sub-folder); training does
    not read them.

    Args:
        path: the folder.
        size: one number or (height, width); None if all pictures have the same size already.
        channels: 1 or 3; None follows the pictures: 1 where all are stored as grey, else 3.
        labels: "auto" takes the folders where they look like classes, see `why_no_classes`; "folders" takes
            them whatever they are called; None takes none.
        cache: folder that keeps the decoded pictures (uint8, memory-mapped), so that opening the same files
            with the same settings again decodes nothing; None keeps them in memory.
        strict: raise if an image cannot be read.
        fit, alpha, depth, resample, max_pixels: as in `Decoder`.
        workers: threads that decode; default the number of cores, at most 8.
        progress: show a bar.

    Raises:
        ValueError: if there is no folder, no image or no readable image, for an unknown setting, or with
            `strict` naming the first unreadable images.
    """
    if labels not in ("auto", "folders", None):
        raise ValueError(f'labels must be "auto", "folders" or None, got {labels!r}')
    decoder = Decoder(size, channels or 3, fit, alpha, depth, resample, max_pixels)
    listing = list_images(path)
    if not listing.files:
        raise nothing_found(path, listing)

    def build(store: RowStore) -> Contents:
        entries = entries_of(listing)
        collected = collect(
            entries,
            store,
            decoder=decoder,
            root=str(path),
            ignored=listing.ignored,
            total=len(entries),
            workers=workers,
            progress=progress,
        )
        ids, names = folder_labels(collected.scan.readable)
        return Contents(ids, names, collected.scan, collected.passing)

    identity = {
        "source": "folder",
        "files": files_digest(path, ((f.name, f.status) for f in listing.files)),
        "problems": listing.problems,
        "decoder": asdict(decoder),
    }
    data = open_or_build(
        build, capacity=len(listing.files), cache=cache, identity=identity, follow=channels is None
    )
    if data.scan is not None:
        # A cached scan remembers where the folder lay, and what else lay in it, when it was read.
        data.scan = replace(data.scan, root=str(path), ignored=listing.ignored)
        if strict:
            data.scan.refuse_unreadable()
    if labels is None or (labels == "auto" and why_no_classes(data.names)):
        data.labels, data.label_names = None, None
    data.names_from = None if data.label_names is None else "the folders"
    return data
