"""The parts of a diffusers pipeline: of an object, of a folder, or of a name on the hub.

The small index of a pipeline is read first, so that what cannot be used is refused before anything large is
loaded or downloaded.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.hub_access import HUB, plain_name, ways

if TYPE_CHECKING:
    import torch

INDEX = "model_index.json"
#: What a pipeline written by Windvane says beyond diffusers' own files.
EXTRA = "windvane_pipeline.json"
#: Networks of unconditional and class-conditional pipelines, by the name that the index gives them.
NETWORKS = {
    "unet": ("UNet2DModel",),
    "transformer": ("DiTTransformer2DModel", "Transformer2DModel"),
}
AUTOENCODERS = ("vae", "vqvae")
#: Parts that say that a pipeline takes a text or another picture.
_PROMPTS = ("text_encoder", "tokenizer", "bert", "prior", "image_encoder", "prompt", "controlnet", "audio")
_OFFLINE_HELP = "Without a network give a pipeline folder (with model_index.json), or a run of windvane train"


@dataclass(frozen=True)
class Parts:
    """What a pipeline is made of.

    Args:
        network: the module that predicts.
        scheduler: a scheduler of diffusers; only its settings are used.
        autoencoder: of a latent pipeline, else None.
        names: of the classes by id, where the pipeline tells them.
        folder: where it was read from; None for an object.
        null_class: the class that stands for none, where the folder tells.
    """

    network: Any
    scheduler: Any
    autoencoder: Any | None
    names: Mapping[int, str]
    folder: Path | None
    null_class: int | None = None


def is_hub_name(name: str | Path) -> bool:
    """Whether this is `hub:owner/name`; anything else is a path, mistyped or not."""
    return re.fullmatch(HUB + r"\w[\w.-]*/[\w.-]+", Path(name).as_posix()) is not None


def parts_of_object(pipeline: Any) -> Parts:
    """The parts of a pipeline that is open already; nothing is copied."""
    components: dict[str, Any] = {k: v for k, v in pipeline.components.items() if v is not None}
    classes = {name: type(part).__name__ for name, part in components.items()}
    network, autoencoder = _chosen(classes, type(pipeline).__name__)
    ids = getattr(pipeline, "labels", None) or {}
    # One id may have several names; the first is its name.
    names = {int(number): str(name) for name, number in reversed(ids.items())}
    return Parts(
        components[network],
        components["scheduler"],
        None if autoencoder is None else components[autoencoder],
        names,
        None,
    )


def parts_of_folder(folder: Path, dtype: "torch.dtype | None") -> Parts:
    """Load network, scheduler and autoencoder of a pipeline folder, and nothing else of it.

    Raises:
        ValueError: no pipeline, one that needs more than a class, or files that are missing or damaged.
    """
    import torch

    classes, names = read_index(folder / INDEX)
    network, autoencoder = _chosen(classes, str(folder))
    with torch.random.fork_rng(devices=[]):
        # Random weights are made and overwritten: that must not move the caller's random numbers.
        loaded = {
            part: _load(folder, part, classes[part], dtype)
            for part in (network, "scheduler", autoencoder)
            if part is not None
        }
    return Parts(
        loaded[network],
        loaded["scheduler"],
        None if autoencoder is None else loaded[autoencoder],
        names,
        folder,
        _null_class(folder / EXTRA),
    )


def write_extra(path: Path, *, null_class: int | None) -> None:
    """Say that Windvane wrote the pipeline, and which class stands for none, if it has classes."""
    path.write_text(json.dumps({"null_class": null_class}) + "\n", encoding="utf-8")


def _null_class(path: Path) -> int | None:
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["null_class"]
        return None if found is None else int(found)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}") from error


def read_index(path: Path) -> tuple[dict[str, str], dict[int, str]]:
    """From ``model_index.json``: part to class name, for parts that are there; and class id to its name."""
    if not path.is_file():
        other = path.parent / "config.json"
        hint = (
            f"; it has a {other.name}, so it is one model of a pipeline: give the folder of the pipeline"
            if other.is_file()
            else ""
        )
        raise ValueError(f"{path.parent} is no pipeline folder: it has no {INDEX}{hint}")
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        pairs = {name: part for name, part in index.items() if isinstance(part, list) and len(part) == 2}
        labels = index.get("id2label") or {}
        names = {int(number): str(name) for number, name in labels.items()}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return {name: str(part[1]) for name, part in pairs.items() if part[1] is not None}, names


def _chosen(classes: Mapping[str, str], where: str) -> tuple[str, str | None]:
    """The names of the network and of the autoencoder (or None) among a pipeline's parts."""
    prompts = [name for name in classes if name.startswith(_PROMPTS)]
    if prompts:
        raise ValueError(
            f"{where} takes more than a class: it has {', '.join(prompts)}. Only unconditional and "
            "class-conditional pipelines can be opened; steer one of those by text instead"
        )
    networks = [name for name in NETWORKS if name in classes]
    if len(networks) != 1:
        raise ValueError(
            f"{where} has {', '.join(networks) or 'no network'}; needed is exactly one of "
            f"{', '.join(NETWORKS)} (its parts: {', '.join(classes) or 'none'})"
        )
    name = networks[0]
    if classes[name] not in NETWORKS[name]:
        known = ", ".join(one for classes_ in NETWORKS.values() for one in classes_)
        raise ValueError(f"the {name} of {where} is a {classes[name]}; known networks: {known}")
    if "scheduler" not in classes:
        raise ValueError(f"{where} has no scheduler, which says how its network was trained")
    return name, next((part for part in AUTOENCODERS if part in classes), None)


def _load(folder: Path, part: str, class_name: str, dtype: "torch.dtype | None") -> Any:
    import diffusers

    kind = getattr(diffusers, class_name, None)
    if kind is None:
        raise ValueError(
            f"{folder}: the {part} is a {class_name}, which the installed diffusers {diffusers.__version__} "
            "does not have"
        )
    # Old repositories keep a single model's files beside the index.
    place = folder / part if (folder / part).is_dir() else folder
    try:
        if part == "scheduler":
            return kind.from_pretrained(place, local_files_only=True)
        return kind.from_pretrained(place, local_files_only=True, torch_dtype=dtype)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ValueError(f"{folder}: cannot load the {part} ({class_name}): {_first(error)}") from error


def find_pipeline(name: str | Path, *, revision: str | None = None, offline: bool | None = None) -> Path:
    """The folder of a pipeline: the given one, else the hub's local cache, else downloaded from the hub.

    Args:
        revision: branch, tag or commit on the hub.
        offline: never ask the network; None asks the environment (``HF_HUB_OFFLINE``).

    Raises:
        ValueError: nothing there, with the choices that need no network.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if not is_hub_name(folder):
        raise ValueError(
            f"there is no pipeline folder {str(name)!r}; one of the hub is named such as "
            "hub:google/ddpm-cifar10-32"
        )
    text = plain_name(folder.as_posix())
    tries, asked = ways(folder, offline)
    failure: Exception | None = None
    for only_local in tries:
        try:
            return _download(text, revision, only_local)
        except _Refused:
            raise
        except (OSError, ValueError, ConnectionError) as error:
            failure = error
    raise ValueError(
        f"cannot find the pipeline {text!r}: it is not in the local cache{asked}: {_first(failure)}. "
        f"{_OFFLINE_HELP}"
    ) from failure


class _Refused(ValueError):
    """A pipeline that is there and cannot be used."""


def _download(name: str, revision: str | None, only_local: bool) -> Path:
    from diffusers import DiffusionPipeline
    from huggingface_hub import hf_hub_download

    index = hf_hub_download(name, INDEX, revision=revision, local_files_only=only_local)
    try:
        _chosen(read_index(Path(index))[0], name)
    except ValueError as error:
        raise _Refused(str(error)) from None
    return Path(DiffusionPipeline.download(name, revision=revision, local_files_only=only_local))


def _first(error: Exception | None) -> str:
    """The first line of an error's message."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
