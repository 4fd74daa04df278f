"""Dense extractors beside the annotation that they made: saved, loaded again from a hub, or only named."""

import json
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from windvane.annotate.dense.dense_extractor import DenseExtractor
from windvane.annotate.dense.encoder_maps import EncoderMaps
from windvane.annotate.dense.patches import Patches
from windvane.annotate.dense.restoration import Restoration
from windvane.annotate.features.extractor_storage import (
    SETTINGS,
    WEIGHTS,
    Restore,
    load_extractor,
    write_extractor,
)
from windvane.annotate.patch_grid import PatchGrid
from windvane.damage import Damaged

#: The dense extractors that can be built again from settings and weights: how each kind is restored.
DENSE: dict[str, Restore] = {
    Restoration.kind: Restoration.restore,
    EncoderMaps.kind: EncoderMaps.restore,
    Patches.kind: Patches.restore,
}
_HUB = "hub-patches"


def write_dense(extractor: DenseExtractor, folder: Path) -> None:
    """Write what is known of an extractor into an existing folder.

    Those of the library with their weights; one of a hub with what loads it; of any other its version alone.
    """
    kind = getattr(extractor, "kind", None)
    if kind in DENSE and not isinstance(extractor, NotedExtractor):
        write_extractor(extractor, folder)  # type: ignore[arg-type]
        return
    noted = {
        "kind": kind,
        "name": extractor.name,
        "dim": extractor.dim,
        "grid": [extractor.grid.size, extractor.grid.stride],
        "settings": extractor.settings() if kind == _HUB else {},  # type: ignore[attr-defined]
    }
    (folder / SETTINGS).write_text(json.dumps(noted, indent=2) + "\n", encoding="utf-8")


def read_dense(folder: Path, given: DenseExtractor | None = None) -> DenseExtractor:
    """What :func:`write_dense` wrote, or the given extractor if it is of the same version.

    Raises:
        ValueError: damaged files, or an extractor of another version.
    """
    if given is None and (folder / WEIGHTS).is_file():
        return load_extractor(folder, kinds=DENSE)
    try:
        noted = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        name = noted["name"]
        if given is None:
            grid = PatchGrid(*noted["grid"])
            return NotedExtractor(noted["kind"], name, noted["dim"], grid, noted["settings"])
    except (OSError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise Damaged(folder / SETTINGS, repr(error)) from error
    if given.name != name:
        raise ValueError(f"made with the features {name}, not with {given.name}")
    return given


class NotedExtractor:
    """An extractor that is not saved: one of a hub is loaded for the first image, others are only named."""

    def __init__(
        self, kind: str | None, name: str, dim: int, grid: PatchGrid, settings: dict[str, Any]
    ) -> None:
        self.kind, self.name, self.dim, self.grid = kind, name, dim, grid
        self._settings, self._loaded = settings, None

    def settings(self) -> dict[str, Any]:
        """What loads it, if it can be loaded."""
        return dict(self._settings)

    def to(self, device: str | torch.device) -> Self:
        """Load and move it."""
        self._found().to(device)
        return self

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, dim, h, w)`` of images ``(B, C, H, W)``."""
        return self._found()(images)

    def _found(self) -> Any:
        if self._loaded is not None:
            return self._loaded
        if self.kind != _HUB:
            raise ValueError(
                f"the features {self.name} are not saved with what they made; load it with extractor=..."
            )
        from windvane.annotate.dense.hub_patches import HubPatches

        made: Any = HubPatches(**{**self._settings, "dtype": getattr(torch, self._settings["dtype"])})
        if made.name != self.name:
            raise ValueError(f"made with the features {self.name}, the model found is {made.name}")
        self._loaded = made
        return made
