"""Opening a model folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from windvane.checkpoint.folder import (
    DESCRIPTION,
    MODULES,
    NETWORK,
    WEIGHTS,
    described,
    parsed,
    unchanged,
    upgraded,
)
from windvane.checkpoint.kinds import ModelKind
from windvane.checkpoint.modules import built_network, check_state, read_module, read_weights
from windvane.compiled import compile_networks
from windvane.damage import reading
from windvane.denoiser import NetworkDenoiser
from windvane.hashes import SEAL, check_hash
from windvane.registry import find, known_names


def load(
    path: str | Path,
    weights: str = "ema",
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    compile: bool = False,
    autocast: torch.dtype | None = None,
) -> Any:
    """Open a model folder, or a run folder with ``model/`` inside: a denoiser in evaluation mode, most often.

    The result has ``weights`` (``"ema"`` or ``"raw"``, as asked for) and ``step``. A model that is replaced
    while it is being read is read again, so that settings and weights are always of one save. A model of
    another registered kind is what that kind makes of it.

    Args:
        weights: ``"ema"`` for the averaged weights, with which one samples, or ``"raw"``.
        dtype: of the network's parameters; the denoiser's result keeps the dtype of x_t.
        compile: compile the network, see :func:`~windvane.compiled.compile_networks`.
        autocast: a dtype to run the network in, such as ``torch.bfloat16``: quick on CUDA, slower on
            most CPUs, and samples differ by its rounding.

    Raises:
        ValueError: no checkpoint there, no such weights in it, a newer format, a kind of model that nobody
            has registered, or files that do not fit.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights must be 'ema' or 'raw', got {weights!r}")
    for _ in range(10):
        folder, text = described(path)
        try:
            model = _read(folder, text, weights)
        except (FileNotFoundError, ValueError):
            if unchanged(path, text):
                raise
            continue
        if unchanged(path, text):
            return _prepared(model, device=device, dtype=dtype, compile=compile, autocast=autocast)
    raise ValueError(f"{path} was replaced again and again while it was being read; try later")


def _prepared(
    model: Any,
    *,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
    compile: bool,
    autocast: torch.dtype | None,
) -> Any:
    if isinstance(model, NetworkDenoiser):
        model.autocast = autocast
    elif autocast is not None or compile:
        raise ValueError(f"autocast and compile are for denoisers, this is a {type(model).__name__}")
    if isinstance(model, nn.Module):
        model.to(device=device, dtype=dtype).eval()
    if compile:
        compile_networks(model)
    return model


def _read(folder: Path, text: str, weights: str) -> Any:
    description = parsed(folder, text)
    if SEAL in description:
        return _built(folder, upgraded(description), weights)
    with reading(folder / DESCRIPTION):  # nothing says whether it is as it was written
        return _built(folder, upgraded(description), weights)


def _built(folder: Path, description: Mapping[str, Any], weights: str) -> Any:
    kind = _kind(folder, description["kind"])
    specs, hashes = description["modules"], description.get("hashes", {})
    if NETWORK in specs and weights not in description["weights"]:
        raise ValueError(
            f"{folder} has no {weights} weights, only {', '.join(description['weights'])}; "
            f"ask for weights={description['weights'][0]!r}"
        )
    for name, noted in hashes.items():
        if name.startswith((f"{weights}/", f"{MODULES}/")) and (folder / name).is_file():
            check_hash(folder / name, noted)  # a missing one is named below
    modules: dict[str, Any] = {}
    for name, spec in specs.items():
        if name == NETWORK:
            network = modules[name] = built_network(spec)
            state = read_weights(folder / weights, network)
            check_state(state, network.state_dict(), f"the files in {folder / weights}")
            network.load_state_dict(state)
        else:
            modules[name] = read_module(folder / MODULES / name, spec)
    model = kind.build(description["settings"], modules)
    # nn.Module's type stubs know tensors and modules only.
    vars(model).update(weights=weights, step=description["step"])
    return model


def _kind(folder: Path, name: Any) -> ModelKind:
    known = known_names("model")
    if name not in known:
        raise ValueError(
            f"{folder} holds a model of the kind {name!r}, which nobody has registered; known: "
            f"{', '.join(known)}. A package that adds it may not be installed"
        )
    return find("model", name).load()()
