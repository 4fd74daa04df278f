"""Writing a model folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from windvane.checkpoint.folder import DESCRIPTION, FORMAT, MODEL, MODULES, NETWORK
from windvane.checkpoint.kinds import ModelKind, Module, kind_of
from windvane.checkpoint.modules import check_state, module_spec, write_module, write_weights
from windvane.files import atomic_folder
from windvane.hashes import folder_hashes, sealed


def check_model(model: Any) -> tuple[ModelKind, dict[str, Module], dict[str, dict[str, Any]]]:
    """The kind that holds a model whole, its modules and what says which they are.

    Raises:
        ValueError: it cannot be saved.
    """
    kind = kind_of(model)
    modules = kind.modules(model)
    return kind, modules, {name: module_spec(name, module) for name, module in modules.items()}


def save_model(
    path: str | Path,
    model: Any,
    *,
    raw: Mapping[str, Tensor] | None = None,
    ema: Mapping[str, Tensor] | None = None,
    step: int = 0,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model folder; a model that stood at ``path`` is replaced at once, when all is written.

    Args:
        model: a :class:`~windvane.denoiser.NetworkDenoiser`, with an autoencoder as its codec or without, or
            a model of another registered kind (:class:`~windvane.checkpoint.ModelKind`).
        raw: the weights as trained, with the keys of ``model.network.state_dict()``; by default the network's
            own, unless the denoiser was loaded with averaged weights and ``ema`` is not given: then those
            are what it has, and they are saved as ``ema``.
        ema: the averaged weights, with the same keys; None: there are none.
        step: the training step.
        extra: anything else worth keeping, as JSON values.

    Raises:
        ValueError: for a model that no kind holds whole (nothing is ever left out), for a network that could
            not be rebuilt, for weights that are not the network's, and where ``path`` is a file or a folder
            with anything else in it.
    """
    kind, modules, specs = check_model(model)
    network: Any = modules.get(NETWORK)
    weights: dict[str, Mapping[str, Tensor]] = {}
    if network is not None:
        own = network.state_dict()
        if raw is None and ema is None and getattr(model, "weights", "raw") == "ema":
            ema = own
        elif raw is None:
            raw = own
        weights = {name: state for name, state in (("ema", ema), ("raw", raw)) if state is not None}
        for name, state in weights.items():
            check_state(state, own, f"the {name} weights")
    description = {
        "format": FORMAT,
        "kind": kind.name,
        "settings": kind.settings(model),
        "modules": specs,
        "weights": list(weights),
        "step": step,
        "extra": dict(extra or {}),
    }
    json.dumps(description, allow_nan=False)  # refused before anything is written
    with atomic_folder(path, MODEL) as folder:
        for name, state in weights.items():
            write_weights(folder / name, network, state)
        for name, module in modules.items():
            if name != NETWORK:
                write_module(folder / MODULES / name, module)
        text = json.dumps(sealed({**description, "hashes": folder_hashes(folder)}), indent=2) + "\n"
        (folder / DESCRIPTION).write_text(text, encoding="utf-8")
    return Path(path)
