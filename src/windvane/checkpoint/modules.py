"""Modules of a model in its folder: what they are, and their weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from windvane.checkpoint.kinds import Module
from windvane.damage import reading
from windvane.networks.base import Network
from windvane.networks.registry import build_network, network_spec

_DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"
_WEIGHTS = "model.safetensors"


def module_spec(name: str, module: Module) -> dict[str, Any]:
    """What says which module it is: a registered network, a class of diffusers, or tensors.

    Raises:
        ValueError: none of these.
    """
    if isinstance(module, Mapping):
        return {"tensors": True}
    if isinstance(module, Network):
        return network_spec(module)
    if _of_diffusers(module):
        return {"library": "diffusers", "class": type(module).__name__}
    raise ValueError(
        f"the module {name!r} is a {type(module).__name__}, which cannot be rebuilt from a file; it must be "
        "a registered network, a model of diffusers, or tensors by name"
    )


def write_module(folder: Path, module: Module) -> None:
    """A module beside the network, in a folder of its own."""
    if not isinstance(module, Mapping) and _of_diffusers(module):
        module.save_pretrained(folder, safe_serialization=True)  # type: ignore[operator]
        return
    state = module if isinstance(module, Mapping) else module.state_dict()
    folder.mkdir(parents=True)
    save_tensors(folder / _WEIGHTS, state)


def read_module(folder: Path, spec: Mapping[str, Any]) -> Any:
    """A module beside the network, from its folder.

    Raises:
        ValueError: files that are missing or do not fit, a class that diffusers does not have.
    """
    if spec.get("tensors"):
        return open_tensors(folder / _WEIGHTS)
    if "library" in spec:
        return _diffusers_class(spec).from_pretrained(folder, use_safetensors=True, local_files_only=True)
    network = build_network(spec["type"], spec["config"])
    state = open_tensors(folder / _WEIGHTS)
    check_state(state, network.state_dict(), f"the files in {folder}")
    network.load_state_dict(state)
    return network


def built_network(spec: Mapping[str, Any]) -> Network:
    """The network of a spec; the caller's random numbers stay, since its random weights are overwritten."""
    with torch.random.fork_rng(devices=[]):
        return build_network(spec["type"], spec["config"])


def write_weights(folder: Path, network: Network, state: Mapping[str, Tensor]) -> None:
    """Weights of the network: a diffusers folder and the rest, or one file."""
    folder.mkdir()
    part = network.diffusers_part
    if part is None:
        save_tensors(folder / _WEIGHTS, state)
        return
    prefix = f"{part}."
    inner = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    getattr(network, part).save_config(folder / part)
    save_tensors(folder / part / _DIFFUSERS_WEIGHTS, inner)
    rest = {key: value for key, value in state.items() if not key.startswith(prefix)}
    save_tensors(folder / "conditioning.safetensors", rest)


def read_weights(folder: Path, network: Network) -> dict[str, Tensor]:
    """What :func:`write_weights` wrote."""
    part = network.diffusers_part
    if part is None:
        return open_tensors(folder / _WEIGHTS)
    inner = open_tensors(folder / part / _DIFFUSERS_WEIGHTS)
    rest = open_tensors(folder / "conditioning.safetensors")
    return {**{f"{part}.{key}": value for key, value in inner.items()}, **rest}


def check_state(state: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str) -> None:
    """Refuse weights of other names or shapes than a network's own."""
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


def save_tensors(path: Path, state: Mapping[str, Tensor]) -> None:
    """Tensors by name as one safetensors file."""
    from safetensors.torch import save_file

    plain = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    save_file(plain, path, metadata={"format": "pt"})


def open_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file.

    Raises:
        ValueError: it is missing or damaged.
    """
    from safetensors.torch import load_file

    if not path.is_file():
        raise ValueError(f"{path} is missing; the other files of the model are no use without it")
    with reading(path):
        return load_file(path)


def _of_diffusers(module: nn.Module) -> bool:
    return type(module).__module__.partition(".")[0] == "diffusers" and hasattr(module, "save_pretrained")


def _diffusers_class(spec: Mapping[str, Any]) -> Any:
    """A model class of diffusers by name: nothing else is looked up because a file says so."""
    import diffusers

    found = getattr(diffusers, str(spec["class"]), None) if spec["library"] == "diffusers" else None
    if not (isinstance(found, type) and issubclass(found, diffusers.ModelMixin)):
        raise ValueError(f"diffusers of version {diffusers.__version__} has no model {spec['class']!r}")
    return found
