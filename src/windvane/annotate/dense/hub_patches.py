"""Patch features of pretrained vision transformers."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from windvane.annotate.features.extractor import beside, version
from windvane.annotate.features.hub_encoder import HubModel
from windvane.annotate.patch_grid import PatchGrid
from windvane.arguments import attributes
from windvane.hub_access import short_name

Facet = Literal["key", "query", "value", "token"]
#: What the projections of the attention are called in the models of transformers, old and new.
_NAMES = {"key": ("k_proj", "key"), "query": ("q_proj", "query"), "value": ("v_proj", "value")}

#: Along the short side of an image of 224 pixels lie so many patches of 16, as in the published setting.
PATCHES_ALONG = 14


class HubPatches(HubModel):
    """One feature per patch of a vision transformer; the prefix (CLS token, registers) is removed.

    LOST (Simeoni et al. 2021, arXiv 2109.14279) uses the keys of the last attention layer of DINO, heads
    concatenated. The patches are the network's own; ``enlarge`` makes them smaller on the image by giving the
    network a larger one, where positions are interpolated. An image of 32 pixels holds two patches of 16 a
    side, in which there is nothing to find; the published method enlarges it to 224, which makes 14.

    Args:
        model: "hub:facebook/dino-vits16", "hub:facebook/dinov2-small", ... or a local folder.
        facet: "key", "query" or "value" of the last attention layer, or "token", the last hidden state.
        enlarge: the image is enlarged so many times in each direction; a patch must then cover a whole number
            of its pixels (3.5 is possible for patches of 14: they cover 4 pixels). None follows ``shape``.
        shape: (height, width) of the images; ``enlarge`` is then as large as makes 14 patches or more along
            the short side, or as a patch a pixel allows. Without both the image is not enlarged.
        revision: branch, tag or commit on the hub.
        offline: never ask the network; None asks the environment.
        dtype: the type of the weights.

    Raises:
        ValueError: the model cannot be loaded or has no patches, ``enlarge`` does not divide them, or both
            ``enlarge`` and ``shape`` are given.
    """

    kind = "hub-patches"

    def __init__(
        self,
        model: str | Path = "hub:facebook/dino-vits16",
        *,
        facet: Facet = "key",
        enlarge: float | None = None,
        shape: tuple[int, int] | None = None,
        revision: str | None = None,
        offline: bool | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        from windvane.adapters.transformers_encoders import load_encoder

        if facet not in ("key", "query", "value", "token"):
            raise ValueError(f"unknown facet {facet!r}; known: key, query, value, token")
        if enlarge is not None and shape is not None:
            raise ValueError(f"enlarge follows from shape: give one of them, not {enlarge} and {shape}")
        self.encoder = load_encoder(model, revision=revision, offline=offline, dtype=dtype)
        # Patches must lie where they lie in the image: no resize to a fixed size, no crop.
        self.encoder.preprocess = replace(self.encoder.preprocess, resize=None, crop=None)
        config: Any = self.encoder.model.config
        patch = getattr(config, "patch_size", None)
        if not isinstance(patch, int):
            raise ValueError(f"{model} has no square patches; take a vision transformer (patch_size {patch})")
        self.model, self.facet, self.patch = str(model), facet, patch
        self.revision, self.dtype = revision, dtype
        self._cell = _cell(patch, enlarge, shape)
        self._tapped = None if facet == "token" else self._projection(facet)
        settings = {
            "model": short_name(model),
            "facet": facet,
            "enlarge": f"{self.enlarge:g}",
            "preprocess": self.encoder.preprocess,
            "dtype": str(dtype).removeprefix("torch."),
        }
        self._name = version(self.kind, settings, self.encoder.model.state_dict())
        with torch.no_grad():
            self._dim = self(torch.zeros(1, 3, 2 * self._cell, 2 * self._cell)).shape[1]

    def _projection(self, facet: str) -> nn.Module:
        found = [
            part
            for name, part in self.encoder.model.named_modules()
            if isinstance(part, nn.Linear) and name.rpartition(".")[2] in _NAMES[facet]
        ]
        if not found:
            raise ValueError(f"{self.model} has no {facet} projection; use facet='token'")
        return found[-1]

    @property
    def grid(self) -> PatchGrid:
        """The network's patches, in pixels of the image."""
        return PatchGrid(self._cell, self._cell)

    @property
    def enlarge(self) -> float:
        """How many times the image is enlarged in each direction."""
        return self.patch / self._cell

    def settings(self) -> dict[str, Any]:
        """What loads this extractor again."""
        return {
            **attributes(self, "model", "facet", "enlarge", "revision"),
            "dtype": str(self.dtype).removeprefix("torch."),
        }

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, dim, h, w)`` of images ``(B, 1 or 3, H, W)`` in [-1, 1]; differentiable.

        Pixels that fill no whole patch, at the right and at the bottom, are left out.
        """
        x = beside(images, self.encoder)
        side = self.grid.size
        lines, columns = (n // side for n in x.shape[-2:])
        if min(lines, columns) < 1:
            raise ValueError(f"images of shape {tuple(x.shape[1:])} hold no patch of {side} pixels")
        x = x[:, :, : lines * side, : columns * side]
        if side < self.patch:
            shape = (lines * self.patch, columns * self.patch)
            x = F.interpolate(x, size=shape, mode="bicubic", antialias=True, align_corners=False)
        tokens = self._tokens(x).float()
        patches = tokens[:, tokens.shape[1] - lines * columns :]
        return patches.transpose(1, 2).reshape(len(x), -1, lines, columns)

    def _tokens(self, x: Tensor) -> Tensor:
        if self._tapped is None:
            return self.encoder(x)[0]
        kept: list[Tensor] = []
        handle = self._tapped.register_forward_hook(lambda module, args, output: kept.append(output))
        try:
            self.encoder(x)
        finally:
            handle.remove()
        return kept[-1]


def _cell(patch: int, enlarge: float | None, shape: tuple[int, int] | None) -> int:
    """How many pixels of the image a patch covers in each direction."""
    if enlarge is None:
        return patch if shape is None else max(1, min(patch, min(shape) // PATCHES_ALONG))
    cell = round(patch / enlarge) if 1 <= enlarge <= patch else 0
    if cell < 1 or abs(cell * enlarge - patch) > 1e-3:
        raise ValueError(
            f"enlarge must divide the patch size {patch} into whole pixels, got {enlarge:g}; possible: "
            f"{', '.join(f'{patch / side:g}' for side in range(patch, 0, -1))}"
        )
    return cell
