"""What a model folder consists of, where it is, and what its description says."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from windvane.arguments import location
from windvane.damage import reading
from windvane.files import FolderKind, recover_folder
from windvane.hashes import check_seal

#: Raised when the layout or the meaning of the folder changes.
FORMAT = 2
WEIGHTS = ("ema", "raw")
DESCRIPTION = "windvane.json"
#: The module whose weights are averaged; others lie in a folder of this name.
NETWORK, MODULES = "network", "modules"
_DIFFUSERS_FILES = ("config.json", "diffusion_pytorch_model*")
_FILES = (
    *(f"{part}/{name}" for part in ("unet", "transformer") for name in _DIFFUSERS_FILES),
    "conditioning.safetensors",
    "model.safetensors",
)
#: What a model folder consists of; nothing else is replaced by one.
MODEL = FolderKind(
    "a model",
    {DESCRIPTION: ("format", "weights")},
    (
        *(f"{name}/{file}" for name in WEIGHTS for file in _FILES),
        *(f"{MODULES}/*/{file}" for file in (*_DIFFUSERS_FILES, "model.safetensors")),
    ),
)
#: The settings of a denoiser, which format 1 had beside everything else.
_SETTINGS = ("process", "parametrisation", "time", "sigma_data", "shape")


def find_model(path: str | Path) -> Path:
    """The model folder at ``path``, or ``path / "model"``; puts back what a killed save left next to it."""
    path = location(path, "the path of a model")
    for folder in (path, path / "model"):
        if folder.parent.is_dir() and (recover_folder(folder) / DESCRIPTION).is_file():
            return folder
    if not path.exists():
        raise ValueError(f"there is no {path}; give a model folder, or a run folder with model/ inside")
    raise ValueError(
        f"{path} is not a windvane checkpoint: neither it nor {path / 'model'} has a {DESCRIPTION}; "
        "a folder of diffusers or another library needs its adapter"
    )


def read_description(path: str | Path) -> dict[str, Any]:
    """What ``windvane.json`` says: ``kind``, ``settings``, ``modules``, ``weights``, ``step``, ``extra``.

    The same for every format. Settings stand beside the rest, too, and ``network`` for the module of that
    name, as in format 1.
    """
    description = upgraded(parsed(*described(path)))
    network = {NETWORK: description["modules"][NETWORK]} if NETWORK in description["modules"] else {}
    return {**description["settings"], **network, **description}


def described(path: str | Path) -> tuple[Path, str]:
    """The model folder and its description; looked for again where it was replaced between the two."""
    while True:
        with suppress(FileNotFoundError):
            return (folder := find_model(path)), _text(folder)


def unchanged(path: str | Path, text: str) -> bool:
    """Whether the description is still ``text``."""
    try:
        return described(path)[1] == text
    except (FileNotFoundError, ValueError):
        return False


def parsed(folder: Path, text: str) -> dict[str, Any]:
    """A description as it stands in its file, whose seal is looked at.

    Raises:
        ValueError: a newer format, or damage.
    """
    with reading(folder / DESCRIPTION):
        description = json.loads(text)
        version = int(description["format"])
    if version > FORMAT:
        raise ValueError(
            f"{folder} has checkpoint format {version}, this windvane reads up to {FORMAT}; upgrade windvane"
        )
    check_seal(description, folder / DESCRIPTION)
    return description


def upgraded(description: Mapping[str, Any]) -> dict[str, Any]:
    """A description of format 1 as one of format 2."""
    if description["format"] >= 2:
        return dict(description)
    settings = {name: description[name] for name in _SETTINGS}
    rest = {name: value for name, value in description.items() if name not in (*_SETTINGS, NETWORK)}
    modules = {NETWORK: description[NETWORK]}
    return {**rest, "kind": "denoiser", "settings": settings, "modules": modules}


def _text(folder: Path) -> str:
    with reading(folder / DESCRIPTION):
        return (folder / DESCRIPTION).read_text(encoding="utf-8")
