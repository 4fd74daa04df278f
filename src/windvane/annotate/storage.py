"""Annotations on disk: a folder that is whole or absent, and refused with the reason when it does not fit.

``annotation.json`` says what it is; ``vector.safetensors`` holds ids, sizes, centres and distances; a fitted
extractor's own ``extractor.json`` and ``extractor.safetensors`` lie beside them. Other signals (layouts) add
files and entries of their own under ``signals``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from windvane.annotate.features.extractor import FeatureExtractor, Images, learns
from windvane.annotate.features.extractor_storage import load_extractor, write_extractor
from windvane.annotate.folder_kinds import ANNOTATION
from windvane.annotate.images.annotation import Annotation
from windvane.annotate.images.clusters import Clusters
from windvane.annotate.sealed_pair import checked_pair, read_pair, sealed
from windvane.damage import Damaged
from windvane.files import atomic_folder, recover_folder
from windvane.registry import known_names

FORMAT = 1
FILE, TENSORS = "annotation.json", "vector.safetensors"


def save_annotation(annotation: Annotation, path: str | Path) -> None:
    """Write an annotation as a folder, atomically; an old one at ``path`` is replaced.

    Raises:
        ValueError: ``path`` is a file, or a folder with anything else in it.
    """
    from safetensors.torch import save_file

    tensors = {"ids": annotation.ids, "sizes": annotation.sizes}
    if annotation.distances is not None:
        tensors["distances"] = annotation.distances.float()
    vector: dict[str, Any] = {"source": annotation.source, "k": annotation.k}
    if annotation.clusters is not None:
        tensors["centres"] = annotation.clusters.centres
        vector["clusters"] = annotation.clusters.settings()
        vector["extractor"] = _described(annotation)
        vector["flip"] = annotation.flip
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    described = {
        "format": FORMAT,
        "n": len(annotation),
        "data": annotation.fingerprint,
        "image": None if annotation.shape is None else list(annotation.shape),
        "signals": {"vector": vector},
    }
    with atomic_folder(path, ANNOTATION) as folder:
        save_file(tensors, folder / TENSORS)
        (folder / FILE).write_text(json.dumps(sealed(described, tensors), indent=2) + "\n", encoding="utf-8")
        if annotation.extractor is not None and vector.get("extractor", {}).get("saved"):
            write_extractor(annotation.extractor, folder)  # type: ignore[arg-type]


def _described(annotation: Annotation) -> dict[str, Any]:
    extractor = annotation.extractor
    kind = getattr(extractor, "kind", None)
    described: dict[str, Any] = {"name": annotation.extractor_name, "kind": kind}
    described["saved"] = extractor is not None and learns(extractor) and kind in known_names("features")
    if kind == "encoder":
        described["settings"] = extractor.settings()  # type: ignore[union-attr]
        described["licence"] = getattr(extractor, "licence", None)
    return described


def load_annotation(
    path: str | Path, *, data: Images | None = None, extractor: FeatureExtractor | None = None
) -> Annotation:
    """Load an annotation; one call of it then annotates new images.

    Args:
        path: the folder.
        data: the images it must belong to; None does not ask.
        extractor: the features, where they are not saved with it (a denoiser's, a module's); a hub encoder
            is loaded again on its own when it is needed and none is given.

    Raises:
        ValueError: files missing or damaged, ids out of range, another data set or images of another size,
            another extractor version.
    """
    folder = recover_folder(path)
    described, tensors = _read(folder)
    vector = described["signals"]["vector"]
    clusters = None
    try:
        if "clusters" in vector:
            clusters = Clusters(**vector["clusters"]).restored(tensors["centres"], tensors["sizes"])
        annotation = Annotation(
            tensors["ids"],
            vector["k"],
            fingerprint=described["data"],
            source=vector["source"],
            clusters=clusters,
            extractor_name=vector.get("extractor", {}).get("name"),
            flip=vector.get("flip", False),
            distances=tensors.get("distances"),
            shape=described.get("image"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(folder / FILE, str(error)) from error
    if not torch.equal(annotation.sizes, tensors["sizes"]):
        raise Damaged(folder / TENSORS, "its sizes are not those of its ids")
    if data is not None:
        annotation.check(data)
    if clusters is not None:
        annotation.extractor = _extractor(folder, vector["extractor"], extractor)
    return annotation


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    for name in (FILE, TENSORS):
        if not (folder / name).is_file():
            raise ValueError(f"no annotation in {folder}: {name} is missing")
    described, tensors = read_pair(folder / FILE, folder / TENSORS)
    if described.get("format") != FORMAT:
        found = described.get("format")
        raise ValueError(f"{folder / FILE} has format {found!r}; this version reads {FORMAT}")
    with checked_pair(described, tensors, folder / FILE, folder / TENSORS):
        lost = {"ids", "sizes"} - set(tensors)
        if lost:
            raise ValueError(f"it has no {', '.join(sorted(lost))}")
        if len(tensors["ids"]) != described["n"]:
            raise ValueError(f"it says {described['n']} images and has {len(tensors['ids'])} ids")
        Annotation(tensors["ids"], described["signals"]["vector"]["k"], fingerprint=described["data"])
    return described, tensors


def _extractor(
    folder: Path, noted: Mapping[str, Any], given: FeatureExtractor | None
) -> FeatureExtractor | None:
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
