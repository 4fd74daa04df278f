"""Features on disk in shards: each is wholly there or not at all, and all of them say what they are.

A folder holds ``manifest.json`` (the extractor's version, the images' hash, shapes, type, rows a shard) and
``shard-00000.safetensors``, ... with the tensor "features" of consecutive images. A shard is written under a
temporary name and renamed, so a process killed at any moment costs the shards it was working on. Each notes
the hash of its values, and one that has other values when it is read is damaged.
"""

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from windvane.files import atomic_file, atomic_write_json
from windvane.hashes import tensors_hash

FORMAT = 1
FILE = "manifest.json"
_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "uint8": torch.uint8,
}
_SAID = {
    "extractor": "version",
    "data": "images (fingerprint)",
    "image": "image size",
    "n": "number of images",
    "feature": "shape of features",
    "flip": "mirror averaging",
    "dtype": "type",
    "shard": "shard size",
}


@dataclass(frozen=True)
class Manifest:
    """What a folder of features holds.

    Args:
        extractor: version of the features.
        data: fingerprint of the images.
        image: shape ``(C, H, W)`` of an image.
        n: images.
        feature: shape of the features of one image, ``(D,)`` or ``(D, h, w)``; of masks ``(H, W)``.
        shard: images a shard; the last may have fewer.
        flip: features are averaged with those of the mirror image.
        dtype: "float32", "float16" or "bfloat16"; "uint8" for masks.
    """

    extractor: str
    data: str
    image: tuple[int, ...]
    n: int
    feature: tuple[int, ...]
    shard: int
    flip: bool = False
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.n < 1 or self.shard < 1 or not self.feature or min(self.feature) < 1:
            raise ValueError(
                f"need images, features and rows a shard, got n={self.n}, {self.feature}, {self.shard}"
            )
        if self.dtype not in _DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, got {self.dtype!r}")

    @property
    def read_as(self) -> torch.dtype:
        """The type of what is read: uint8 as it is, everything else as float32."""
        return torch.uint8 if self.dtype == "uint8" else torch.float32

    @property
    def key(self) -> str:
        """A hash of all fields, noted in every shard."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def refuse(self, stored: "Manifest", folder: Path) -> None:
        """Raise the reason why stored features are not these."""
        # The size of the images says more than their hash, which then differs as well.
        for name in ("extractor", "image", "n", "data", "feature", "flip", "dtype", "shard"):
            found, asked = getattr(stored, name), getattr(self, name)
            if found != asked:
                raise ValueError(
                    f"{folder} holds features of another {_SAID[name]}: {found}, not {asked}; "
                    "take another folder, or delete this one"
                )


class FeatureShards:
    """Features ``(n, *feature)`` in a folder, some or all of whose shards are there.

    Args:
        folder: the folder.
        manifest: what it holds.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        # Size and time of the shards whose hash was found right: one reading of the values has to do.
        self._right: dict[int, tuple[int, int]] = {}

    @classmethod
    def create(cls, folder: str | Path, manifest: Manifest, *, keep_shard: bool = False) -> Self:
        """Open the folder for these features, or begin it.

        Args:
            folder: an empty or missing folder, or one of the same features.
            manifest: what it must hold.
            keep_shard: take the shard size of a folder that is there already.

        Raises:
            ValueError: it holds other features, which are named, or its manifest is damaged.
        """
        folder = Path(folder)
        if (folder / FILE).exists():
            stored = _read(folder)
            asked = replace(manifest, shard=stored.shard) if keep_shard else manifest
            asked.refuse(stored, folder)
            return cls(folder, asked)
        if folder.is_dir() and any(folder.glob("shard-*")):
            raise ValueError(f"{folder} has shards of features, but {FILE} is missing; delete the folder")
        atomic_write_json(folder / FILE, {"format": FORMAT, **asdict(manifest)})
        return cls(folder, manifest)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open a folder whatever features it holds.

        Raises:
            ValueError: there is none, or its manifest is damaged.
        """
        return cls(Path(folder), _read(Path(folder)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape ``(n, *feature)`` of all of them."""
        return (self.manifest.n, *self.manifest.feature)

    @property
    def count(self) -> int:
        """How many shards there are when all are there."""
        return -(-self.manifest.n // self.manifest.shard)

    def __len__(self) -> int:
        return self.manifest.n

    def rows(self, index: int) -> slice:
        """The images of a shard."""
        start = index * self.manifest.shard
        return slice(start, min(start + self.manifest.shard, self.manifest.n))

    def path(self, index: int) -> Path:
        """The file of a shard."""
        return self.folder / f"shard-{index:05d}.safetensors"

    def missing(self) -> list[int]:
        """Shards that are still to be written; one that is damaged is named in a warning and counts."""
        left = []
        for index in range(self.count):
            if not self.path(index).is_file():
                left.append(index)
            elif reason := self._damage(index):
                warnings.warn(f"{self.path(index)} is computed again: it is damaged ({reason})", stacklevel=2)
                left.append(index)
        return left

    def write(self, index: int, features: Tensor) -> None:
        """Put the features of a shard's images on the disk, atomically.

        Raises:
            ValueError: another shape than the shard's.
        """
        from safetensors.torch import save_file

        expected = self._expected(index)
        if tuple(features.shape) != expected:
            raise ValueError(f"shard {index} has shape {expected}, got {tuple(features.shape)}")
        stored = features.detach().to("cpu", _DTYPES[self.manifest.dtype]).contiguous()
        with atomic_file(self.path(index)) as temporary:
            # One entry: safetensors writes several in any order, and the same features make the same file.
            noted = f"{self._mark(index)}#{tensors_hash({'features': stored})}"
            save_file({"features": stored}, temporary, metadata={"of": noted})

    def read(self, index: int) -> Tensor:
        """The features of a shard, float32 (or uint8, see :attr:`Manifest.read_as`).

        Raises:
            ValueError: it is not there, or damaged.
        """
        from safetensors import safe_open

        if not self.path(index).is_file():
            raise ValueError(f"{self.path(index)} is missing; extract the features again to complete them")
        if reason := self._damage(index):
            raise ValueError(f"{self.path(index)} is damaged ({reason}); extract the features again")
        with safe_open(self.path(index), framework="pt") as stored:
            return stored.get_tensor("features").to(self.manifest.read_as)

    def batch(self, indices: Tensor | slice | Sequence[int]) -> Tensor:
        """Features ``(B, *feature)`` of images, reading only the shards they lie in."""
        asked = torch.arange(len(self))[indices]
        found = torch.empty(len(asked), *self.manifest.feature, dtype=self.manifest.read_as)
        owner = asked // self.manifest.shard
        for index in owner.unique().tolist():
            chosen = owner == index
            found[chosen] = self.read(index)[asked[chosen] - index * self.manifest.shard]
        return found

    def tensor(self) -> Tensor:
        """All features ``(n, *feature)``."""
        found = torch.empty(self.shape, dtype=self.manifest.read_as)
        for index in range(self.count):
            found[self.rows(index)] = self.read(index)
        return found

    def _expected(self, index: int) -> tuple[int, ...]:
        rows = self.rows(index)
        return (rows.stop - rows.start, *self.manifest.feature)

    def _mark(self, index: int) -> str:
        return f"{self.manifest.key}:{index}"

    def _damage(self, index: int) -> str | None:
        """Why a shard cannot be used, or None; one without a hash was written before hashes were noted."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path(index), framework="pt") as stored:
                mark, _, content = (stored.metadata() or {}).get("of", "").partition("#")
                if mark != self._mark(index):
                    return "it belongs to other features or to another place among them"
                shape = tuple(stored.get_slice("features").get_shape())
                if shape != self._expected(index):
                    return f"its shape is {shape}"
                told = self.path(index).stat()
                state = (told.st_size, told.st_mtime_ns)
                if content and self._right.get(index) != state:
                    if tensors_hash({"features": stored.get_tensor("features")}) != content:
                        return "its values do not have the hash that was noted when they were written"
                    self._right[index] = state
        except (SafetensorError, RuntimeError, ValueError) as error:
            return str(error)
        return None


def _read(folder: Path) -> Manifest:
    try:
        told: Any = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if told["format"] != FORMAT:
            raise ValueError(f"it has format {told['format']!r}; this version reads {FORMAT}")
        named = {field.name: told[field.name] for field in fields(Manifest)}
        return Manifest(**{**named, "image": tuple(named["image"]), "feature": tuple(named["feature"])})
    except FileNotFoundError as error:
        raise ValueError(f"no features in {folder}: {FILE} is missing") from error
    except (KeyError, TypeError, ValueError) as error:
        said = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{folder / FILE} is damaged: {said}") from error
