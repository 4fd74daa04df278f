"""The two files of an annotation, description and tensors, under hashes that say which one was changed."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from windvane.annotate.features.extractor import content_hash
from windvane.annotate.folder_kinds import ANNOTATION
from windvane.damage import Damaged, read_json, reading
from windvane.files import atomic_folder, recover_folder

#: Of every description that is written.
FORMAT = 1

#: Where the description keeps the hash of both files, and the one of the tensors alone.
CONTENT, TENSORS = "content", "tensors"
_CHANGED = "its content does not have the hash noted with it, so it was changed"


def seal(described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """The hash of a description, but for the hash itself, and of its tensors."""
    text = json.dumps({key: described[key] for key in described if key != CONTENT}, sort_keys=True)
    return hashlib.sha256(f"{text}{content_hash(tensors)}".encode()).hexdigest()


def sealed(described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """A description with the hashes of its tensors and of the whole."""
    noted = {**described, TENSORS: content_hash(tensors)}
    return {**noted, CONTENT: seal(noted, tensors)}


def write_pair(
    path: str | Path,
    names: tuple[str, str],
    described: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    beside: Callable[[Path], None],
) -> None:
    """Write a folder, atomically, and what ``beside`` puts into it; an old annotation there is replaced.

    Raises:
        ValueError: ``path`` is a file, or a folder with anything else in it.
    """
    from safetensors.torch import save_file

    tensors = {key: value.contiguous() for key, value in tensors.items()}
    with atomic_folder(path, ANNOTATION) as folder:
        save_file(tensors, folder / names[1])
        text = json.dumps(sealed(described, tensors), indent=2)
        (folder / names[0]).write_text(text + "\n", encoding="utf-8")
        beside(folder)


def read_pair(
    path: str | Path, names: tuple[str, str], what: str
) -> tuple[Path, dict[str, Any], dict[str, Tensor]]:
    """The folder and what its two files hold, not yet checked by their hash.

    Raises:
        ValueError: a file is missing, or of another format.
        Damaged: one of them cannot be read; it is named.
    """
    from safetensors.torch import load_file

    folder = recover_folder(path)
    for name in names:
        if not (folder / name).is_file():
            raise ValueError(f"no {what} in {folder}: {name} is missing")
    file, tensors_file = (folder / name for name in names)
    described = read_json(file)
    with reading(tensors_file):
        tensors = load_file(tensors_file)
    if described.get("format") != FORMAT:
        found = described.get("format")
        raise ValueError(f"{file} has format {found!r}; this version reads {FORMAT}")
    return folder, described, tensors


def changed_file(
    described: Mapping[str, Any], tensors: Mapping[str, Tensor], file: Path, tensors_file: Path
) -> Path | None:
    """Which of the two files is not as it was written; None: both are.

    Annotations of before the tensors had a hash of their own get both names in one.
    """
    if CONTENT not in described:
        return file
    if described[CONTENT] == seal(described, tensors):
        return None
    noted, found = described.get(TENSORS), content_hash(tensors)
    if noted is None:
        return file.with_name(f"{file.name} or {tensors_file.name}")
    # The noted hash may itself be what was changed: with the right one in its place the seal would hold.
    mended = {**described, TENSORS: found}
    return file if noted == found or described[CONTENT] == seal(mended, tensors) else tensors_file


@contextmanager
def checked_pair(
    described: Mapping[str, Any], tensors: Mapping[str, Tensor], file: Path, tensors_file: Path
) -> Iterator[None]:
    """Refuse files that are not as they were written, or that the block cannot take apart.

    Raises:
        Damaged: with the file that was changed, and what the block said of it.
    """
    try:
        yield
    except Damaged:
        raise
    except (KeyError, TypeError, ValueError) as error:
        said = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise Damaged(changed_file(described, tensors, file, tensors_file) or file, said) from error
    changed = changed_file(described, tensors, file, tensors_file)
    if changed is not None:
        raise Damaged(changed, _CHANGED)
