"""Finding and opening a model: of a run, of a model folder, or of a diffusers pipeline."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.adapters.diffusers_folder import INDEX, is_hub_name
from windvane.cli.common.conditions.vocabulary import KnownConditions, asked_of
from windvane.cli.common.config import Config, check, read_yaml
from windvane.cli.common.recipe import weights_hash
from windvane.cli.common.sections import DataSection
from windvane.damage import reading

if TYPE_CHECKING:
    from torch import Tensor

    from windvane.cli.common.sections import SampleSection
    from windvane.denoiser import Denoiser

#: Pictures are much larger than their latents, so a batch is decoded in parts.
_DECODED_AT_ONCE = 16


@dataclass(frozen=True)
class OpenedModel:
    """An opened model: its folder, its denoiser on its device, and what it may be asked for.

    ``description`` is what ``windvane.json`` says; of a pipeline it has ``"pipeline"``, the name or folder
    that was asked for, instead of most of that.
    """

    folder: Path
    denoiser: "Denoiser"
    description: dict[str, Any]
    sha256: str
    asked: KnownConditions | None

    @property
    def step(self) -> int:
        """The training step of the weights; 0 where it is not known."""
        return int(self.description["step"])

    def decode(self, x: "Tensor") -> "Tensor":
        """Pictures of samples: themselves, or decoded from latents."""
        return pictures_of(self.denoiser, x)


def pictures_of(denoiser: "Denoiser", x: "Tensor") -> "Tensor":
    """Pictures of a denoiser's samples, without gradients: themselves, or decoded from latents."""
    import torch

    codec = denoiser.codec
    if codec is None:
        return x
    with torch.no_grad():
        return torch.cat([codec.decode(part) for part in x.split(_DECODED_AT_ONCE)])


def clip_of(denoiser: "Denoiser", section: "SampleSection") -> float | None:
    """The bound for predictions: that of pixels; for latents the one their pipeline asks for."""
    if denoiser.codec is not None:
        return denoiser.clip
    return 1.0 if section.clip else None


def check_model_path(path: Path | str) -> None:
    """Refuse early, before torch is imported, what cannot be a model."""
    path = Path(path)
    if is_hub_name(path):
        return
    if not path.exists():
        raise ValueError(
            f"there is no run or model folder at {path}; a pipeline of the hub is named hub:owner/name"
        )
    if not path.is_dir():
        raise ValueError(f"{path} is a file; give the folder of a run, of a model, or of a pipeline")


def open_model(
    path: Path | str, *, weights: str = "ema", device: str = "cpu", precision: str = "float32"
) -> OpenedModel:
    """Open a run folder, a model folder, a diffusers pipeline folder, or a pipeline by its name on the hub.

    Args:
        weights: ``"ema"`` or ``"raw"`` of a model of windvane; a pipeline has one set.
        precision: in which the network runs, ``"float32"`` or ``"bf16"``; samples stay float32.
    """
    import torch

    from windvane.checkpoint import find_model, load, read_description
    from windvane.denoiser import Denoiser

    path = Path(path)
    check_model_path(path)
    autocast = torch.bfloat16 if precision == "bf16" else None
    if is_hub_name(path) or (path / INDEX).is_file():
        model = _open_pipeline(path, device)
        model.denoiser.autocast = autocast  # type: ignore[assignment]
        return model
    try:
        folder = find_model(path)
    except ValueError:
        raise ValueError(
            f"{path} is neither a windvane run or model (no windvane.json in it or in its model/) nor a "
            f"diffusers pipeline (no {INDEX})"
        ) from None
    description = read_description(folder)
    denoiser = load(folder, weights, device=device, autocast=autocast)
    if not isinstance(denoiser, Denoiser):
        raise ValueError(
            f"{folder} holds a model of the kind {description['kind']!r}, which makes no pictures"
        )
    with reading(folder / "windvane.json"):
        asked = asked_of(description)
    return OpenedModel(folder, denoiser, description, weights_hash(folder, weights), asked)


def model_hash(path: Path, weights: str) -> str:
    """The hash that :func:`open_model` notes of the same, without opening it."""
    from windvane.checkpoint import find_model

    return _pipeline_hash(path) if (path / INDEX).is_file() else weights_hash(find_model(path), weights)


def _open_pipeline(path: Path, device: str) -> OpenedModel:
    from windvane.adapters.pipeline import from_pipeline

    denoiser = from_pipeline(path, device=device)
    classes, names = denoiser.classes, denoiser.names
    named = None if classes is None or len(names) < classes else [names[k] for k in range(classes)]
    asked = None if classes is None else KnownConditions(classes, "labels", None, named)
    description = {"pipeline": path.as_posix(), "step": 0}
    folder = denoiser.folder or path
    return OpenedModel(folder, denoiser, description, _pipeline_hash(folder), asked)


def _pipeline_hash(folder: Path) -> str:
    """SHA-256 over the settings and weights in a pipeline folder."""
    digest = hashlib.sha256()
    files = [file for pattern in ("*.json", "*.safetensors", "*.bin") for file in folder.rglob(pattern)]
    for file in sorted(files):
        digest.update(f"\n{file.relative_to(folder).as_posix()}\n".encode())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def run_config(path: Path) -> dict[str, Any]:
    """The settings that `windvane train` left in a run, for the run or the model folder inside it; else {}.

    A run that a program of the user's own made may keep anything in config.yaml; it is left alone
    unless it has all of our sections.

    Raises:
        ValueError: sections of ours beside unknown ones, which are named.
    """
    settings, file = _settings(path)
    if not _ours(settings):
        return {}
    check(settings, where=str(file))
    return settings


def _ours(settings: dict[str, Any]) -> bool:
    """Whether `windvane train` wrote settings: nothing but its sections, or all of these and more."""
    sections = set(Config.model_fields)
    return set(settings) <= sections or sections - {"preset", "annotate", "evaluate"} <= set(settings)


def run_data(path: Path) -> dict[str, Any]:
    """What a run says of its images, whatever program made it: its section `data` if it has one, else {}."""
    found = _settings(path)[0].get("data")
    return found if isinstance(found, dict) and set(found) <= set(DataSection.model_fields) else {}


def _settings(path: Path) -> tuple[dict[str, Any], Path | None]:
    """What a run's config.yaml holds, for the run or the model folder inside it, and that file."""
    for folder in (path, path.parent):
        file = folder / "config.yaml"
        if file.is_file() and (folder / "model").is_dir():
            return read_yaml(file), file
    return {}, None
