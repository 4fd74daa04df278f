"""Fitted extractors on disk: settings as JSON beside the weights as safetensors."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from windvane.annotate.features.extractor import FeatureExtractor, FittedExtractor, learns
from windvane.annotate.folder_kinds import EXTRACTOR
from windvane.damage import Damaged, reading
from windvane.files import atomic_folder, recover_folder
from windvane.hashes import read_sealed, sealed
from windvane.registry import entries, known_names

#: Builds what was saved again, from its settings and its weights.
Restore = Callable[[Mapping[str, Any], Mapping[str, Tensor]], Any]
SETTINGS, WEIGHTS = "extractor.json", "extractor.safetensors"


def restorers() -> dict[str, Restore]:
    """How each of the registered features is built again."""
    return {row.name: row.load().restore for row in entries("features")}


def write_extractor(extractor: FittedExtractor, folder: Path) -> None:
    """Write a fitted extractor's two files into an existing folder."""
    from safetensors.torch import save_file

    tensors = {key: value.contiguous() for key, value in extractor.state().items()}
    save_file(tensors, folder / WEIGHTS)
    # The name holds a hash of the weights.
    described = {"kind": extractor.kind, "name": extractor.name, "settings": extractor.settings()}
    (folder / SETTINGS).write_text(json.dumps(sealed(described), indent=2) + "\n", encoding="utf-8")


def save_extractor(extractor: FittedExtractor, path: str | Path) -> None:
    """Save a fitted extractor as a folder of its own, atomically; an old one at ``path`` is replaced.

    Raises:
        ValueError: ``path`` is a file, or a folder with anything else in it.
    """
    with atomic_folder(path, EXTRACTOR) as folder:
        write_extractor(extractor, folder)


def load_extractor(path: str | Path, *, kinds: Mapping[str, Restore] | None = None) -> Any:
    """Load what :func:`save_extractor` wrote.

    Args:
        path: the folder.
        kinds: how each kind that it may be of is restored; by default the registered features.

    Raises:
        ValueError: files missing, damaged, or weights that are not those the name was made from.
    """
    from safetensors.torch import load_file

    folder = recover_folder(path)
    for name in (SETTINGS, WEIGHTS):
        if not (folder / name).is_file():
            raise ValueError(f"no saved feature extractor in {folder}: {name} is missing")
    described = read_sealed(folder / SETTINGS)
    with reading(folder / SETTINGS):
        known = restorers() if kinds is None else kinds
        restore, settings, name = known[described["kind"]], described["settings"], described["name"]
    with reading(folder / WEIGHTS):
        extractor = restore(settings, load_file(folder / WEIGHTS))
    if extractor.name != name:
        raise Damaged(
            folder / WEIGHTS, f"{SETTINGS} says it is {name}, but its weights make it {extractor.name}"
        )
    return extractor


def saves(extractor: FeatureExtractor | None) -> TypeGuard[FittedExtractor]:
    """Whether an extractor is saved with what it made: one that was learnt, of a registered kind."""
    kind = getattr(extractor, "kind", None)
    return extractor is not None and learns(extractor) and kind in known_names("features")


def noted_extractor(extractor: FeatureExtractor | None, name: str | None) -> dict[str, Any]:
    """What an annotation notes of the features it was made with."""
    kind = getattr(extractor, "kind", None)
    described: dict[str, Any] = {"name": name, "kind": kind, "saved": saves(extractor)}
    if kind == "encoder":
        described["settings"] = extractor.settings()  # type: ignore[union-attr]
        described["licence"] = getattr(extractor, "licence", None)
    return described


def read_noted(
    folder: Path, noted: Mapping[str, Any], given: FeatureExtractor | None
) -> FeatureExtractor | None:
    """The features that :func:`noted_extractor` noted: those given, saved beside, or of a hub.

    Raises:
        ValueError: features of another version, or damaged files.
    """
    if given is None and noted["saved"]:
        given = load_extractor(folder)
    elif given is None and noted["kind"] == "encoder":
        return LazyEncoder(noted["name"], noted["settings"], noted["licence"])
    if given is not None and given.name != noted["name"]:
        raise ValueError(
            f"the annotation in {folder} was made with the features {noted['name']}, not with {given.name}"
        )
    return given


class LazyEncoder:
    """A hub encoder that is loaded when the first new image comes, so that opening a run needs no hub."""

    kind = "encoder"

    def __init__(self, name: str, settings: Mapping[str, Any], licence: str | None) -> None:
        self.name, self.licence, self._settings = name, licence, dict(settings)
        self._loaded: FeatureExtractor | None = None

    @property
    def dim(self) -> int:
        """The number of features."""
        return self._encoder().dim

    def settings(self) -> dict[str, Any]:
        """What loads the encoder."""
        return dict(self._settings)

    def _encoder(self) -> FeatureExtractor:
        if self._loaded is None:
            from windvane.annotate.features.hub_encoder import HubEncoder

            named = {**self._settings, "dtype": getattr(torch, self._settings["dtype"])}
            made = HubEncoder(**named)
            if made.name != self.name:
                raise ValueError(
                    f"the annotation was made with {self.name}, the encoder found is {made.name}"
                )
            self._loaded = made
        return self._loaded

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, dim)`` of images ``(B, C, H, W)``."""
        return self._encoder()(images)
