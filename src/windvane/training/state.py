"""Saving and restoring a training in a run folder."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.damage import Damaged, check_inflation, reading
from windvane.files import atomic_write_json
from windvane.hashes import check_hash, file_hash, read_sealed, sealed
from windvane.runs import Run
from windvane.training.batches import Batches, Conditions, TensorData
from windvane.training.program import Update
from windvane.training.step import Stepper

_FORMAT = 1
#: Settings that states have not always named; of an older state they are not compared.
_LATER = ("accumulate", "network_predicts")
#: And these, which older states have as here.
_DEFAULTS: Mapping[str, Any] = {"beside": [], "frozen": {}, "schedule": "constant", "updates": []}
_HEADER, _STATE = "state.json", "state.pt"


def describe(value: Any) -> Any:
    """``value`` as JSON: numbers and text as they are, objects by their repr without memory addresses."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def content(*tensors: Tensor) -> str:
    """A short hash of the numbers in ``tensors``."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]


def _data_content(batches: Batches) -> str | None:
    if isinstance(batches.data, TensorData):
        return content(batches.data.values)
    return getattr(batches.data, "fingerprint", None)


def _conditions_content(conditions: Conditions | None) -> dict[str, str] | None:
    if conditions is None:
        return None
    if not isinstance(conditions, Condition):
        return {"rows": str(getattr(conditions, "fingerprint", None))}
    return {
        name: content(signal, conditions.present[name]) for name, signal in sorted(conditions.signals.items())
    }


def training_settings(stepper: Stepper, batches: Batches, *, steps: int, hashed: bool) -> dict[str, Any]:
    """Everything that shapes the result and must be the same when a training is resumed.

    With ``hashed`` the contents of data and conditions too, which takes a second a gigabyte.
    """
    process, main = stepper.denoiser.process, stepper.main.update
    described = json.dumps(process.to_config(), sort_keys=True)
    return {
        "accumulate": stepper.accumulate,
        "batch_size": batches.batch_size,
        "beside": sorted(stepper.beside),
        "betas": list(main.betas),
        "bf16": stepper.bf16,
        "clip_norm": main.clip_norm,
        "conditions": _conditions_content(batches.conditions) if hashed else None,
        "data": _data_content(batches) if hashed else None,
        "dropout": batches.dropout,
        "ema_decay": stepper.ema.decay,
        "flip": batches.flip,
        "frozen": {name: content(*teacher.tensors()) for name, teacher in stepper.frozen.items()},
        "lr": main.lr,
        "network_predicts": describe(getattr(stepper.denoiser, "parametrisation", None)),
        "objective": describe(main.objective),
        "process": f"{type(process).__name__} {hashlib.sha256(described.encode()).hexdigest()[:8]}",
        "samples": len(batches.data),
        "schedule": main.schedule if main.schedule == "constant" else f"{main.schedule} over {steps} steps",
        "seed": batches.seed,
        "shape": list(batches.shape),
        "times": describe(batches.times),
        "updates": [_described(update) for update in stepper.program.updates[1:]],
        "warmup": main.warmup,
        "weight_decay": main.weight_decay,
    }


def _described(update: Update) -> dict[str, Any]:
    """An update beside the training's own, without its weights."""
    named = (f.name for f in fields(update) if f.name != "parameters")
    return {name: describe(getattr(update, name)) for name in named}


def save_state(run: Run, step: int, state: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Write the state after ``step`` steps; the previous one stays until this one is complete."""
    with run.save_state(step) as folder:
        torch.save({"step": step, **state}, folder / _STATE)
        header = {
            "format": _FORMAT,
            "step": step,
            "torch": torch.__version__,
            "settings": dict(settings),
            "hashes": {_STATE: file_hash(folder / _STATE)},
        }
        atomic_write_json(folder / _HEADER, sealed(header))


def load_state(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Read a state if it is undamaged and was written with the same ``settings``.

    Raises:
        Damaged: the file, and the newest state that is good with how to go on from it.
        ValueError: other settings, which are listed, or another format.
    """
    try:
        header = _header(folder)
    except (Damaged, FileNotFoundError) as error:
        raise _no_use(folder, error) from error
    saved, asked = header["settings"], dict(settings)
    differing = [
        f"{name} (saved {saved.get(name)!r}, now {asked.get(name)!r})"
        for name in sorted({*saved, *asked})
        if saved.get(name, _DEFAULTS.get(name)) != asked.get(name)
        and not (name in _LATER and name not in saved)
    ]
    if differing:
        raise ValueError(
            f"cannot resume from {folder} with other settings: {'; '.join(differing)}; "
            "use the same settings or a new run folder"
        )
    try:
        with reading(folder / _STATE):
            check_inflation(folder / _STATE, ratio=8, free=2**26)
            state = torch.load(folder / _STATE, map_location="cpu", weights_only=True)
            if not isinstance(state, dict) or state["step"] != header["step"]:
                raise ValueError(f"it is not the state after step {header['step']}")
    except (Damaged, FileNotFoundError) as error:
        raise _no_use(folder, error) from error
    return state


def _header(folder: Path) -> dict[str, Any]:
    """What ``state.json`` says, with both files compared with their hashes."""
    path = folder / _HEADER
    header = read_sealed(path)
    with reading(path):
        version, settings, noted = header["format"], header["settings"], header.get("hashes", {})
        if not isinstance(settings, dict) or not isinstance(header["step"], int):
            raise TypeError("its settings or its step are none")
    if version != _FORMAT:
        raise ValueError(f"{folder} has training state format {version}; this version reads {_FORMAT}")
    check_hash(folder / _STATE, noted.get(_STATE))
    return header


def _no_use(folder: Path, error: Exception) -> ValueError:
    """What is wrong with the newest state, and which one is good."""
    broken = str(error) if isinstance(error, Damaged) else f"{getattr(error, 'filename', folder)} is missing"
    for other in sorted(folder.parent.glob("step-*"), reverse=True):
        if other == folder or not (other / _STATE).is_file():
            continue
        try:
            step = _header(other)["step"]
        except (ValueError, OSError):
            continue
        return ValueError(
            f"{broken}. {other.name} is good: remove the folder {folder}, and resuming goes on after step "
            f"{step}"
        )
    return ValueError(
        f"{broken}. No other state in {folder.parent} is good; train anew into another folder, or remove "
        f"{folder.parent} to begin this run again"
    )
