"""Model folders: a denoiser's settings as JSON, raw and averaged weights as safetensors.

::

    model/
      windvane.json    format, process, parametrisation, time, sigma_data, shape, network, step, hashes ...
      ema/, raw/               one of them or both, each with
        unet/ or transformer/  a diffusers folder, which diffusers' ``from_pretrained`` opens
        conditioning.safetensors   the rest of such a network: embeddings of conditions
        model.safetensors      in the place of the two, for a network that is not diffusers'

Which weights are loaded is said, never guessed. The description holds the hash of every other file and of
itself, and loading compares them; folders of before have none and are opened as they are. A folder is
replaced whole: a process killed while saving leaves the previous model or the new one.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from windvane.arguments import location
from windvane.compiled import compile_networks
from windvane.damage import reading
from windvane.denoiser import NetworkDenoiser
from windvane.files import FolderKind, atomic_folder, recover_folder
from windvane.hashes import SEAL, check_hash, check_seal, folder_hashes, sealed
from windvane.networks.base import Network
from windvane.networks.registry import build_network, network_spec
from windvane.process import process_from_config

#: Raised when the layout or the meaning of the folder changes.
FORMAT = 1
WEIGHTS = ("ema", "raw")
_DESCRIPTION = "windvane.json"
_DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"
_DIFFUSERS_FILES = ("config.json", "diffusion_pytorch_model*")
_FILES = (
    *(f"{part}/{name}" for part in ("unet", "transformer") for name in _DIFFUSERS_FILES),
    "conditioning.safetensors",
    "model.safetensors",
)
#: What a model folder consists of; nothing else is replaced by one.
MODEL = FolderKind(
    "a model",
    {_DESCRIPTION: ("format", "process", "parametrisation", "network", "weights")},
    tuple(f"{name}/{file}" for name in WEIGHTS for file in _FILES),
)


def save_model(
    path: str | Path,
    denoiser: NetworkDenoiser,
    *,
    raw: Mapping[str, Tensor] | None = None,
    ema: Mapping[str, Tensor] | None = None,
    step: int = 0,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model folder; a model that stood at ``path`` is replaced at once, when all is written.

    Args:
        raw: the weights as trained, with the keys of ``denoiser.network.state_dict()``; by default the
            network's
            own, unless the denoiser was loaded with averaged weights and ``ema`` is not given: then those
            are what it has, and they are saved as ``ema``.
        ema: the averaged weights, with the same keys; None: there are none.
        step: the training step.
        extra: anything else worth keeping, as JSON values.

    Raises:
        ValueError: for a network that could not be rebuilt, for weights that are not the network's, and where
            ``path`` is a file or a folder with anything else in it.
    """
    network = unwrapped(denoiser.network)
    spec = network_spec(network)
    own = network.state_dict()
    if raw is None and ema is None and getattr(denoiser, "weights", "raw") == "ema":
        ema = own
    elif raw is None:
        raw = own
    weights = {name: state for name, state in (("ema", ema), ("raw", raw)) if state is not None}
    for name, state in weights.items():
        _check_state(state, own, f"the {name} weights")
    description = {
        "format": FORMAT,
        "process": denoiser.process.to_config(),
        "parametrisation": denoiser.parametrisation,
        "time": denoiser.time,
        "sigma_data": denoiser.sigma_data,
        "shape": None if denoiser.shape is None else list(denoiser.shape),
        "network": spec,
        "weights": list(weights),
        "step": step,
        "extra": dict(extra or {}),
    }
    json.dumps(description, allow_nan=False)  # refused before anything is written
    with atomic_folder(path, MODEL) as folder:
        for name, state in weights.items():
            _write_weights(folder / name, network, state)
        text = json.dumps(sealed({**description, "hashes": folder_hashes(folder)}), indent=2) + "\n"
        (folder / _DESCRIPTION).write_text(text, encoding="utf-8")
    return Path(path)


def load(
    path: str | Path,
    weights: str = "ema",
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    compile: bool = False,
    autocast: torch.dtype | None = None,
) -> NetworkDenoiser:
    """Open a model folder, or a run folder with ``model/`` inside, as a denoiser in evaluation mode.

    The result has ``weights`` (``"ema"`` or ``"raw"``, as asked for) and ``step``. A model that is replaced
    while it is being read is read again, so that settings and weights are always of one save.

    Args:
        weights: ``"ema"`` for the averaged weights, with which one samples, or ``"raw"``.
        dtype: of the network's parameters; the denoiser's result keeps the dtype of x_t.
        compile: compile the network, see :func:`~windvane.compiled.compile_networks`.
        autocast: a dtype to run the network in, such as ``torch.bfloat16``: quick on CUDA, slower on
            most CPUs, and samples differ by its rounding.

    Raises:
        ValueError: no checkpoint there, no such weights in it, a newer format, or files that do not fit.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights must be 'ema' or 'raw', got {weights!r}")
    for _ in range(10):
        folder, text = _described(path)
        try:
            denoiser = _read(folder, text, weights)
        except (FileNotFoundError, ValueError):
            if _unchanged(path, text):
                raise
            continue
        if _unchanged(path, text):
            denoiser.autocast = autocast
            denoiser.to(device=device, dtype=dtype).eval()
            if compile:
                compile_networks(denoiser)
            return denoiser
    raise ValueError(f"{path} was replaced again and again while it was being read; try later")


def find_model(path: str | Path) -> Path:
    """The model folder at ``path``, or ``path / "model"``; puts back what a killed save left next to it."""
    path = location(path, "the path of a model")
    for folder in (path, path / "model"):
        if folder.parent.is_dir() and (recover_folder(folder) / _DESCRIPTION).is_file():
            return folder
    if not path.exists():
        raise ValueError(f"there is no {path}; give a model folder, or a run folder with model/ inside")
    raise ValueError(
        f"{path} is not a windvane checkpoint: neither it nor {path / 'model'} has a {_DESCRIPTION}; "
        "a folder of diffusers or another library needs its adapter"
    )


def read_description(path: str | Path) -> dict[str, Any]:
    """The contents of ``windvane.json``: settings, ``weights`` present, ``step``, ``extra``."""
    return _parse(*_described(path))


def unwrapped(network: nn.Module) -> Network:
    """The network inside what ``torch.compile`` and data-parallel training wrap around it."""
    inner: Any = network
    while not isinstance(inner, Network):
        inner = getattr(inner, "_orig_mod", None) or getattr(inner, "module", None)
        if inner is None:
            raise ValueError(
                f"a model folder holds a windvane network, got {type(network).__name__}; derive it from "
                "windvane.networks.Network and call register_network"
            )
    return inner


def _described(path: str | Path) -> tuple[Path, str]:
    """The model folder and its description; looked for again where it was replaced between the two."""
    while True:
        with suppress(FileNotFoundError):
            return (folder := find_model(path)), _text(folder)


def _text(folder: Path) -> str:
    with reading(folder / _DESCRIPTION):
        return (folder / _DESCRIPTION).read_text(encoding="utf-8")


def _unchanged(path: str | Path, text: str) -> bool:
    try:
        return _described(path)[1] == text
    except (FileNotFoundError, ValueError):
        return False


def _parse(folder: Path, text: str) -> dict[str, Any]:
    with reading(folder / _DESCRIPTION):
        description = json.loads(text)
        version = int(description["format"])
    if version > FORMAT:
        raise ValueError(
            f"{folder} has checkpoint format {version}, this windvane reads up to {FORMAT}; upgrade windvane"
        )
    check_seal(description, folder / _DESCRIPTION)
    return description


def _read(folder: Path, text: str, weights: str) -> NetworkDenoiser:
    description = _parse(folder, text)
    if SEAL in description:
        return _built(folder, description, weights)
    with reading(folder / _DESCRIPTION):  # nothing says whether it is as it was written
        return _built(folder, description, weights)


def _built(folder: Path, description: Mapping[str, Any], weights: str) -> NetworkDenoiser:
    if weights not in description["weights"]:
        raise ValueError(
            f"{folder} has no {weights} weights, only {', '.join(description['weights'])}; "
            f"ask for weights={description['weights'][0]!r}"
        )
    with torch.random.fork_rng(devices=[]):
        # Its random weights are overwritten: making them must not move the caller's random numbers.
        network = build_network(description["network"]["type"], description["network"]["config"])
    for name, noted in description.get("hashes", {}).items():
        if name.startswith(f"{weights}/") and (folder / name).is_file():  # a missing one is named below
            check_hash(folder / name, noted)
    state = _read_weights(folder / weights, network)
    _check_state(state, network.state_dict(), f"the files in {folder / weights}")
    network.load_state_dict(state)
    denoiser = NetworkDenoiser(
        network,
        process_from_config(description["process"]),
        parametrisation=description["parametrisation"],
        shape=description["shape"],
        sigma_data=description["sigma_data"],
        time=description["time"],
    )
    # nn.Module's type stubs know tensors and modules only.
    vars(denoiser).update(weights=weights, step=description["step"])
    return denoiser


def _check_state(state: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str) -> None:
    missing, foreign = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    other = [key for key in own if key in state and state[key].shape != own[key].shape]
    shapes = [f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}" for key in other]
    problems = [
        f"{label}: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
        for label, names in (("missing", missing), ("unknown", foreign), ("wrong shape", shapes))
        if names
    ]
    if problems:
        raise ValueError(f"{what} do not fit the network: {'; '.join(problems)}")


def _write_weights(folder: Path, network: Network, state: Mapping[str, Tensor]) -> None:
    folder.mkdir()
    part = network.diffusers_part
    if part is None:
        _save(folder / "model.safetensors", state)
        return
    prefix = f"{part}."
    inner = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    getattr(network, part).save_config(folder / part)
    _save(folder / part / _DIFFUSERS_WEIGHTS, inner)
    _save(folder / "conditioning.safetensors", {k: v for k, v in state.items() if not k.startswith(prefix)})


def _read_weights(folder: Path, network: Network) -> dict[str, Tensor]:
    part = network.diffusers_part
    if part is None:
        return _open(folder / "model.safetensors")
    inner = _open(folder / part / _DIFFUSERS_WEIGHTS)
    rest = _open(folder / "conditioning.safetensors")
    return {**{f"{part}.{key}": value for key, value in inner.items()}, **rest}


def _save(path: Path, state: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    plain = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    save_file(plain, path, metadata={"format": "pt"})


def _open(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    if not path.is_file():
        raise ValueError(f"{path} is missing; the other files of the model are no use without it")
    with reading(path):
        return load_file(path)
