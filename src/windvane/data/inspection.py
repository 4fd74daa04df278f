"""Reading one image, so that nothing it contains can stop the reading of the others."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from windvane.data.decode import Decoder, Header, open_binary, read_header
from windvane.data.duplicates import thumbnail
from windvane.data.errors import UnreadableImage, refuse_scarcity


@dataclass(frozen=True)
class Entry:
    """One image to read: its name, its file or bytes, its label if any; or a known `problem`.

    `place` says where it lies, such as "train.parquet:17", if its name does not.
    """

    name: str
    source: Path | bytes | None
    label: int | str | None = None
    problem: str | None = None
    passing: bool = False
    place: str | None = None

    @property
    def found_at(self) -> str:
        """The name with the place, to find the entry again."""
        return self.name if self.place in (None, self.name) else f"{self.place} ({self.name})"


@dataclass(frozen=True)
class Inspection:
    """What reading an entry gave: pixels (C, H, W), header, content hash, miniature; or the `problem`.

    A `passing` problem may be gone at the next opening.
    """

    entry: Entry
    problem: str | None = None
    header: Header | None = None
    pixels: np.ndarray | None = None
    digest: str | None = None
    passing: bool = False
    small: np.ndarray | None = None


#: Files of at most so many bytes are read once, for their hash and their picture.
_AT_ONCE = 1 << 22


class _Content(io.BytesIO):
    """What a file holds, under its name."""

    def __init__(self, content: bytes, name: object) -> None:
        super().__init__(content)
        self.name = name


def _hashed(handle: BinaryIO) -> tuple[str, BinaryIO]:
    """SHA-256 of an open file, and the file, or its content, at its beginning."""
    head = handle.read(_AT_ONCE)
    if len(head) < _AT_ONCE:
        return hashlib.sha256(head).hexdigest(), _Content(head, getattr(handle, "name", "an image"))
    handle.seek(0)
    digest = hashlib.file_digest(handle, "sha256").hexdigest()  # type: ignore[arg-type]
    handle.seek(0)
    return digest, handle


def inspect(entry: Entry, decoder: Decoder, *, deep: bool = True) -> Inspection:
    """Decode an entry, or with ``deep=False`` read its header only; a failure comes back as a problem."""
    if entry.problem is not None or entry.source is None:
        return Inspection(entry, problem=entry.problem or "no data", passing=entry.passing)
    try:
        if not deep:
            header = read_header(entry.source, max_pixels=decoder.max_pixels, size=decoder.size)
            return Inspection(entry, header=header)
        with open_binary(entry.source) as handle:
            digest, content = _hashed(handle)
            pixels, header = decoder.read_handle(content)
    except UnreadableImage as error:
        return Inspection(entry, problem=error.reason, passing=error.passing)
    except OSError as error:
        # The disk failed while reading, for example a share that went away.
        refuse_scarcity(error, f"reading {entry.found_at!r}")
        return Inspection(entry, problem=f"cannot be read: {error.strerror or error}", passing=True)
    return Inspection(entry, header=header, pixels=pixels, digest=digest, small=thumbnail(pixels))
