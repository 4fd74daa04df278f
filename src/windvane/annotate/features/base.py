"""What a feature extractor is, and how its features of a whole data set are computed once and kept."""

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self, TypeGuard

import torch
from torch import Tensor, nn

from windvane.files import atomic_file
from windvane.progress import track


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
    digest = hashlib.sha256()
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu().contiguous()
        digest.update(f"{key}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


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


def extract(
    extractor: FeatureExtractor,
    data: Images,
    *,
    batch_size: int = 256,
    flip: bool = False,
    cache: str | Path | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> Tensor:
    """Features of every image of a data set, float32 ``(n, dim)`` on the CPU.

    Args:
        extractor: any feature extractor.
        data: the images.
        batch_size: images per call; the result does not depend on it.
        flip: average the features of an image and its mirror image.
        cache: a folder; features of the same extractor version and the same images are read from it.
        device: where to compute; an extractor with a ``to`` method is moved there. None moves nothing.
        progress: show a bar.

    Raises:
        ValueError: no images, or features that are not finite or of the wrong shape.
    """
    if len(data) == 0:
        raise ValueError("there are no images to extract features from")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    note = {"extractor": extractor.name, "data": data.fingerprint, "flip": str(flip)}
    file = None if cache is None else Path(cache) / f"features-{text_key(*note.values())}.safetensors"
    if file is not None and (stored := _read(file, note, len(data), extractor.dim)) is not None:
        return stored
    if device is not None and hasattr(extractor, "to"):
        extractor.to(device)
    features = torch.empty(len(data), extractor.dim, dtype=torch.float32)
    starts = range(0, len(data), batch_size)
    with torch.no_grad():
        for start in track(starts, f"features: {extractor.name.split('(')[0]}", enabled=progress):
            images = data.batch(slice(start, min(start + batch_size, len(data))))
            images = images if device is None else images.to(device)
            made = extractor(images)
            if flip:
                made = (made + extractor(images.flip(-1))) / 2
            _check(made, images, extractor, start)
            features[start : start + len(images)] = made.to("cpu", torch.float32)
    if file is not None:
        _write(file, features, note)
    return features


def _check(made: Tensor, images: Tensor, extractor: FeatureExtractor, start: int) -> None:
    if made.shape != (len(images), extractor.dim):
        raise ValueError(
            f"{extractor.name} returned shape {tuple(made.shape)} for {len(images)} images; "
            f"expected ({len(images)}, {extractor.dim})"
        )
    bad = (~torch.isfinite(made).all(dim=1)).nonzero()
    if len(bad):
        raise ValueError(
            f"{extractor.name} returned values that are not finite for image {start + int(bad[0])}"
        )


def _write(file: Path, features: Tensor, note: dict[str, str]) -> None:
    from safetensors.torch import save_file

    with atomic_file(file) as temporary:
        save_file({"features": features}, temporary, metadata=note)


def _read(file: Path, note: dict[str, str], n: int, dim: int) -> Tensor | None:
    if not file.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as stored:
            features = stored.get_tensor("features")
            same = dict(stored.metadata() or {}) == note
    except (SafetensorError, OSError) as error:
        # A cache may be thrown away at any time, so a damaged file costs time but is no error.
        warnings.warn(f"features are computed again: {file} is damaged ({error})", stacklevel=3)
        return None
    return features if same and features.shape == (n, dim) else None
