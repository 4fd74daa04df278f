"""Hashes of files, noted when they are saved and compared when they are loaded.

SHA-256 throughout, so that ``sha256sum`` says the same. JSON files hold the hash of the rest of them under
the key ``content``: an edited number is found as a flipped bit is. What was saved before hashes were noted
has none and is opened as it is.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.damage import Damaged, read_json

if TYPE_CHECKING:
    from torch import Tensor

#: The key of a JSON file under which the hash of the rest stands.
SEAL = "content"
_LINE = "# as written by windvane, SHA-256 of all lines below: "
#: What is said of a text that users may edit, after its name.
EDITED = "is not as windvane wrote it; it is used as it is now"
_OTHER = "its content does not have the hash that was noted when it was written"


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits; 0.3 to 1 GB a second."""
    with Path(path).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def folder_hashes(folder: str | Path) -> dict[str, str]:
    """The hash of every file under a folder, by its path from there, in order."""
    folder = Path(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in files}


def tensors_hash(tensors: Mapping[str, "Tensor"]) -> str:
    """SHA-256 over names, types, shapes and bytes of tensors, in the order of their names."""
    import torch

    digest = hashlib.sha256()
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu().contiguous()
        digest.update(f"{key}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_hash(path: str | Path, expected: str | None, *, remedy: str = "") -> None:
    """Refuse a file whose content is not what it was when ``expected`` was noted; None: nothing was noted.

    Args:
        path: the file.
        expected: what :func:`file_hash` said of it.
        remedy: what to do about damage, for the end of the message.

    Raises:
        Damaged: another content.
        OSError: the file is not there, or cannot be read.
    """
    if expected is not None and file_hash(path) != expected:
        raise Damaged(path, _OTHER, remedy)


def seal_of(value: Mapping[str, Any]) -> str:
    """The hash of a JSON object, whatever the order of its keys; its seal is left out."""
    rest = {key: value[key] for key in value if key != SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with the hash of the rest of it under ``content``."""
    return {**value, SEAL: seal_of(value)}


def check_seal(value: Mapping[str, Any], path: str | Path, *, remedy: str = "") -> None:
    """Refuse a JSON object read from ``path`` that is not what was sealed; one without a seal passes.

    Raises:
        Damaged: something in it was changed.
    """
    if SEAL in value and value[SEAL] != seal_of(value):
        raise Damaged(path, _OTHER, remedy)


def read_sealed(path: str | Path, *, remedy: str = "") -> dict[str, Any]:
    """The JSON object in a file, without its seal, which is checked where there is one.

    Raises:
        Damaged: not JSON, or changed since it was written.
        OSError: the file is not there, or cannot be read.
    """
    found = read_json(path, remedy=remedy)
    check_seal(found, path, remedy=remedy)
    return {key: found[key] for key in found if key != SEAL}


def sealed_text(text: str) -> str:
    """A text that users may edit, with its hash in a first line of comment."""
    return f"{_LINE}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def is_edited(text: str, *, left: bool = False) -> bool:
    """Whether a text with such a first line is another one than was written.

    Without that line nothing is known, unless the text was ``left`` by a command, which always writes it.
    """
    first, _, rest = text.partition("\n")
    if not first.startswith(_LINE):
        return left
    return first.removeprefix(_LINE).strip() != hashlib.sha256(rest.encode()).hexdigest()
