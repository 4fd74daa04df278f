"""Features of a whole data set: computed once, in shards, by one process or several, and kept.

What is computed need not be a vector: whatever is made of one image at a time (a box, a mask, vectors drawn
from a map) goes the same way if it has ``name``, a version, and ``feature(shape)``, the shape of what it
makes of an image of ``shape``. It may have ``of_rows(images, rows)`` in place of a call, to know which images
they are, and ``task``, a word for the bar.
"""

import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from windvane.annotate.feature_shards import FeatureShards, Manifest
from windvane.annotate.features.extractor import DenseExtractor, FeatureExtractor, Images, text_key
from windvane.annotate.patch_grid import patch_counts
from windvane.annotate.process_group import Group
from windvane.annotate.work import Work
from windvane.files import clear_temporary
from windvane.progress import track

#: A shard has about this many images, fewer where their features are large.
SHARD_IMAGES, SHARD_BYTES = 1024, 1 << 26


class PerImage(Protocol):
    """What is made of one image at a time; see the head of this file."""

    @property
    def name(self) -> str: ...

    def feature(self, shape: tuple[int, ...]) -> tuple[int, ...]: ...


AnyExtractor = FeatureExtractor | DenseExtractor | PerImage


def extract(
    extractor: FeatureExtractor | PerImage,
    data: Images,
    *,
    batch_size: int = 256,
    flip: bool = False,
    dtype: str = "float32",
    cache: str | Path | None = None,
    device: str | torch.device | None = None,
    group: Group | None = None,
    progress: bool = True,
) -> Tensor:
    """Features of every image of a data set, float32 ``(n, dim)`` on the CPU.

    Args:
        extractor: any feature extractor.
        data: the images.
        batch_size: images per call; the result does not depend on it.
        flip: average the features of an image and its mirror image.
        dtype: "float32", or "uint8" for masks, which are then given back as such; in a ``cache`` also the
            half precisions of :func:`extract_shards`.
        cache: a folder; features of the same extractor version and the same images are read from it, and
            are kept there shard by shard, so that an interrupted extraction goes on where it was.
        device: where to compute; an extractor with a ``to`` method is moved there. None moves nothing.
        group: processes that share the work; they need a ``cache`` that all of them see.
        progress: show a bar.

    Raises:
        ValueError: no images, several processes without a cache, or features that are not finite or of the
            wrong shape.
    """
    return extracted(extractor, data, Work.of(batch_size, device, cache, group, progress), flip, dtype)


def extracted(
    extractor: FeatureExtractor | PerImage,
    data: Images,
    work: Work,
    flip: bool = False,
    dtype: str = "float32",
) -> Tensor:
    """:func:`extract`, by the work as one value."""
    if work.cache is not None:
        return kept_shards(extractor, data, work, flip, dtype).tensor()
    _check_images(data)
    work.check()
    manifest = _manifest(extractor, data, None, work.batch_size, flip, dtype)
    features = torch.empty(len(data), *manifest.feature, dtype=manifest.read_as)
    for rows, made in batches(extractor, data, [slice(0, len(data))], work, flip=flip):
        features[rows] = made.to(features)
    return features


def cached_shards(
    extractor: AnyExtractor,
    data: Images,
    cache: str | Path,
    *,
    batch_size: int = 256,
    flip: bool = False,
    dtype: str = "float32",
    device: str | torch.device | None = None,
    group: Group | None = None,
    progress: bool = True,
) -> FeatureShards:
    """The features of a data set in a folder of their own in ``cache``; see :func:`extract_shards`.

    What is damaged there costs time and is no error.
    """
    work = Work.of(batch_size, device, cache, group, progress)
    return kept_shards(extractor, data, work, flip, dtype)


def kept_shards(
    extractor: AnyExtractor, data: Images, work: Work, flip: bool = False, dtype: str = "float32"
) -> FeatureShards:
    """:func:`cached_shards`, by the work as one value."""
    key = text_key(extractor.name, data.fingerprint, tuple(data.shape), flip, dtype)
    folder = Path(str(work.cache)) / f"features-{key}"

    def cleared() -> None:
        try:
            if folder.exists():
                manifest = _manifest(extractor, data, None, work.batch_size, flip, dtype)
                FeatureShards.create(folder, manifest, keep_shard=True)
        except ValueError as error:
            warnings.warn(f"features are computed again: {error}", stacklevel=2)
            shutil.rmtree(folder)

    _check_images(data)
    work.check()
    work.group.first(cleared)
    return _written(extractor, data, folder, work, None, flip, dtype)


def extract_shards(
    extractor: AnyExtractor,
    data: Images,
    folder: str | Path,
    *,
    shard: int | None = None,
    batch_size: int = 256,
    flip: bool = False,
    dtype: str = "float32",
    device: str | torch.device | None = None,
    group: Group | None = None,
    progress: bool = True,
) -> FeatureShards:
    """Write the features of a data set into a folder, shard by shard; what is there already is kept.

    Of w processes the one of rank r writes the shards r, r + w, r + 2w, ...; images are read batch by batch,
    and no process holds more features than one shard's. Batches begin anew with every shard, so the files
    do not depend on the number of processes or on interruptions.

    Args:
        extractor: features of images ``(n, dim)``, or dense ones ``(n, dim, h, w)`` (those with a ``grid``).
        data: the images.
        folder: where to; empty, missing, or begun with the same features and images.
        shard: images a shard; None goes on with what is there, or takes about 1,024.
        batch_size: images per call.
        flip: average with the features of the mirror image; not for dense features.
        dtype: of the files: "float32", "float16" (half the disk, for large maps), "bfloat16"; "uint8" for
            masks.
        device: where to compute; an extractor with a ``to`` method is moved there. None moves nothing.
        group: the processes that share the work; None is this one alone.
        progress: show a bar.

    Returns:
        The shards, all of them complete, in every process.

    Raises:
        ValueError: the folder holds features of another extractor version, other images or images of another
            size; or the features are not finite or of another shape than promised.
    """
    # The folder is what several processes share.
    work = Work.of(batch_size, device, folder, group, progress)
    return _written(extractor, data, Path(folder), work, shard, flip, dtype)


def _written(
    extractor: AnyExtractor,
    data: Images,
    folder: Path,
    work: Work,
    shard: int | None,
    flip: bool,
    dtype: str,
) -> FeatureShards:
    _check_images(data)
    work.check()
    if flip and hasattr(extractor, "grid"):
        raise ValueError("flip averages the features of whole images; dense features have a place each")
    group = work.group
    manifest = _manifest(extractor, data, shard, work.batch_size, flip, dtype)
    shards = group.first(lambda: FeatureShards.create(folder, manifest, keep_shard=shard is None))
    # Shards that are missing now may be there in a moment; whose they are must not depend on that.
    mine = [index for index in shards.missing() if index % group.count == group.rank]
    if mine and group.count == 1:
        clear_temporary(shards.folder)
    parts: list[Tensor] = []
    seen = replace(work, progress=work.progress and group.rank == 0)
    for rows, made in batches(extractor, data, [shards.rows(index) for index in mine], seen, flip=flip):
        parts.append(made.cpu())
        index = rows.start // shards.manifest.shard
        if rows.stop == shards.rows(index).stop:
            shards.write(index, torch.cat(parts))
            parts.clear()
    group.wait()
    return shards


def _check_images(data: Images) -> None:
    if len(data) == 0:
        raise ValueError("there are no images to extract features from")


def _manifest(
    extractor: Any, data: Images, shard: int | None, batch_size: int, flip: bool, dtype: str
) -> Manifest:
    feature = _feature(extractor, tuple(data.shape))
    if shard is None:
        most = max(1, min(SHARD_IMAGES, SHARD_BYTES // (4 * torch.Size(feature).numel())))
        # Whole batches, so that no call of the extractor is smaller than it need be.
        shard = most // batch_size * batch_size or most
    return Manifest(
        extractor.name, data.fingerprint, tuple(data.shape), len(data), feature, shard, flip, dtype
    )


def _feature(extractor: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of what is made of one image of ``shape``."""
    if hasattr(extractor, "feature"):
        return tuple(extractor.feature(shape))
    if not hasattr(extractor, "grid"):
        return (extractor.dim,)
    return (extractor.dim, *patch_counts(extractor.grid, (shape[-2], shape[-1])))


def batches(
    extractor: Any,
    data: Images,
    ranges: Sequence[slice],
    work: Work,
    *,
    flip: bool = False,
    task: str | None = None,
) -> Iterator[tuple[slice, Tensor]]:
    """What is made of the images of some ranges, batch by batch, none of which goes beyond its range.

    Raises:
        ValueError: another shape than the extractor promises, or values that are not finite.
    """
    feature, size = _feature(extractor, tuple(data.shape)), work.batch_size
    cut = [
        slice(start, min(start + size, rows.stop))
        for rows in ranges
        for start in range(rows.start, rows.stop, size)
    ]
    if cut:
        work.move(extractor)
    task = task or getattr(extractor, "task", None) or f"features: {extractor.name.split('(')[0]}"
    of_rows = getattr(extractor, "of_rows", None)
    for rows in track(cut, task, enabled=work.progress):
        with torch.no_grad():
            images = data.batch(rows)
            images = images if work.device is None else images.to(work.device)
            made = extractor(images) if of_rows is None else of_rows(images, rows)
            if flip:
                made = (made + extractor(images.flip(-1))) / 2
        _check(made, rows, extractor, feature)
        yield rows, made


def _check(made: Tensor, rows: slice, extractor: Any, feature: tuple[int, ...]) -> None:
    count = rows.stop - rows.start
    if tuple(made.shape) != (count, *feature):
        raise ValueError(
            f"{extractor.name} returned shape {tuple(made.shape)} for {count} images; "
            f"expected ({count}, {', '.join(map(str, feature))})"
        )
    flat = made.flatten(1)
    # A sum is fast, and finite only where all its terms are; where it is not, every term is looked at.
    if bool(torch.isfinite(flat.sum(dim=1)).all()):
        return
    bad = (~torch.isfinite(flat).all(dim=1)).nonzero()
    if len(bad):
        raise ValueError(
            f"{extractor.name} returned values that are not finite for image {rows.start + int(bad[0])}"
        )
