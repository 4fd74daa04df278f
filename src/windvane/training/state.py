"""Saving and restoring a training in a run folder."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.files import atomic_write_json
from windvane.runs import Run
from windvane.training.batches import Batches, Conditions, TensorData
from windvane.training.step import Stepper

_FORMAT = 1


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


def training_settings(stepper: Stepper, batches: Batches, *, hashed: bool) -> dict[str, Any]:
    """Everything that shapes the result and must be the same when a training is resumed.

    With ``hashed`` the contents of data and conditions too, which takes a second a gigabyte.
    """
    process = stepper.denoiser.process
    described = json.dumps(process.to_config(), sort_keys=True)
    return {
        "batch_size": batches.batch_size,
        "betas": list(stepper.optimizer.defaults["betas"]),
        "bf16": stepper.bf16,
        "clip_norm": stepper.clip_norm,
        "conditions": _conditions_content(batches.conditions) if hashed else None,
        "data": _data_content(batches) if hashed else None,
        "dropout": batches.dropout,
        "ema_decay": stepper.ema.decay,
        "flip": batches.flip,
        "lr": stepper.lr,
        "objective": describe(stepper.objective),
        "process": f"{type(process).__name__} {hashlib.sha256(described.encode()).hexdigest()[:8]}",
        "samples": len(batches.data),
        "seed": batches.seed,
        "shape": list(batches.shape),
        "times": describe(batches.times),
        "warmup": stepper.warmup,
        "weight_decay": stepper.optimizer.defaults["weight_decay"],
    }


def save_state(run: Run, step: int, state: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Write the state after ``step`` steps; the previous one stays until this one is complete."""
    with run.save_state(step) as folder:
        torch.save({"step": step, **state}, folder / "state.pt")
        header = {"format": _FORMAT, "step": step, "torch": torch.__version__, "settings": dict(settings)}
        atomic_write_json(folder / "state.json", header)


def load_state(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Read a state if it was written with the same ``settings``; else a ValueError lists what differs."""
    header = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    if header["format"] != _FORMAT:
        raise ValueError(
            f"{folder} has training state format {header['format']}; this version reads {_FORMAT}"
        )
    saved, asked = header["settings"], dict(settings)
    differing = [
        f"{name} (saved {saved.get(name)!r}, now {asked.get(name)!r})"
        for name in sorted({*saved, *asked})
        if saved.get(name) != asked.get(name)
    ]
    if differing:
        raise ValueError(
            f"cannot resume from {folder} with other settings: {'; '.join(differing)}; "
            "use the same settings or a new run folder"
        )
    return torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
