"""Finding and opening the model of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.conditions import Asked, asked_of
from windvane.cli.config import Config, read_yaml
from windvane.cli.recipe import weights_hash

if TYPE_CHECKING:
    from windvane.denoiser import NetworkDenoiser


@dataclass(frozen=True)
class Model:
    """An opened model: its folder, its denoiser on its device, and what it may be asked for."""

    folder: Path
    denoiser: "NetworkDenoiser"
    description: dict[str, Any]
    sha256: str
    asked: Asked | None

    @property
    def step(self) -> int:
        """The training step of the weights."""
        return int(self.description["step"])


def check_model_path(path: Path) -> None:
    """Refuse early, before torch is imported, what cannot be a model."""
    if not path.exists():
        raise ValueError(f"there is no run or model folder at {path}")
    if not path.is_dir():
        raise ValueError(f"{path} is a file; give the folder of a run, or of a model")


def open_model(path: Path, *, weights: str, device: str) -> Model:
    """Open a run folder or a model folder."""
    from windvane.checkpoint import find_model, load, read_description

    check_model_path(path)
    folder = find_model(path)
    denoiser = load(folder, weights, device=device)
    description = read_description(folder)
    return Model(folder, denoiser, description, weights_hash(folder, weights), asked_of(description))


def run_config(path: Path) -> dict[str, Any]:
    """The settings that `windvane train` left in a run, for the run or the model folder inside it; else {}.

    A run that a program of the user's own made may keep anything in config.yaml; that is left alone.
    """
    for folder in (path, path.parent):
        file = folder / "config.yaml"
        if file.is_file() and (folder / "model").is_dir():
            settings = read_yaml(file)
            return settings if set(settings) <= set(Config.model_fields) else {}
    return {}
