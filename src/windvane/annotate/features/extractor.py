"""What a feature extractor is, and what it asks of the images."""

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol, Self, TypeGuard

import torch
from torch import Tensor, nn

from windvane.annotate.patch_grid import PatchGrid
from windvane.hashes import tensors_hash


class Images(Protocol):
    """What annotation asks of a data set: its size, its images and the hash of its content."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape ``(C, H, W)`` of one image."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of the images."""
        ...

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor | slice) -> Tensor:
        """Images ``(B, C, H, W)``, float32 in [-1, 1]."""
        ...


class FeatureExtractor(Protocol):
    """A frozen map from an image to a vector, g(x) in Self-Guided Diffusion Models (2210.06462).

    ``name`` is a version: it changes whenever the features could (kind, every setting, the weights).
    The features of an image must not depend on the other images of the batch.
    """

    @property
    def name(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, dim)``, on the extractor's device, of images ``(B, C, H, W)`` in [-1, 1] on any."""
        ...


class DenseExtractor(Protocol):
    """A frozen map from an image to one feature vector per patch.

    ``name`` is a version: it changes whenever the features could (kind, every setting, the weights).
    ``grid`` says which pixels each patch covers: patch (i, j) is features[:, :, i, j]. The features of an
    image must not depend on the other images of the batch.
    """

    @property
    def name(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def grid(self) -> PatchGrid: ...

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, dim, h, w)`` of images ``(B, C, H, W)`` in [-1, 1]."""
        ...


class FittedExtractor(FeatureExtractor, Protocol):
    """An extractor that learns from the user's images and is therefore saved with the run.

    ``recipe`` names kind and settings before fitting; ``kind``, ``settings`` and ``state`` rebuild it.
    """

    kind: str

    @property
    def recipe(self) -> str: ...

    @property
    def fitted(self) -> bool: ...

    def fit(self, data: Images, *, progress: bool = True, device: str | torch.device = "cpu") -> Self: ...

    def settings(self) -> dict[str, Any]: ...

    def state(self) -> dict[str, Tensor]: ...

    @classmethod
    def restore(cls, settings: Mapping[str, Any], state: Mapping[str, Tensor]) -> Self: ...


def learns(extractor: FeatureExtractor) -> TypeGuard[FittedExtractor]:
    """Whether an extractor is of the kind that is fitted on the user's images."""
    # Looked up on the class: the name of an extractor that is not fitted yet raises.
    return all(hasattr(type(extractor), name) for name in ("recipe", "fitted", "fit", "settings", "state"))


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of tensors, in the order of their names."""
    return tensors_hash(tensors)


def version(kind: str, settings: Mapping[str, Any], weights: Mapping[str, Tensor] | None = None) -> str:
    """``kind(setting=value,...)#hash``: the name of an extractor; without weights there is no hash."""
    text = f"{kind}({','.join(f'{key}={settings[key]}' for key in sorted(settings))})".replace(" ", "")
    return text if weights is None else f"{text}#{content_hash(weights)[:12]}"


def text_key(*parts: object) -> str:
    """A short file-name-safe key of several values."""
    return hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()[:20]


def beside(images: Tensor, module: nn.Module) -> Tensor:
    """Images on the device of a module."""
    first = next(module.parameters(), None)
    return images if first is None else images.to(first.device)
