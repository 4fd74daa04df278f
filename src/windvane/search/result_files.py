"""What a search has found so far, in one file: to look at, and to go on from."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from windvane.damage import reading
from windvane.files import atomic_file
from windvane.hashes import check_seal, sealed, tensors_hash
from windvane.search.budget import Spent
from windvane.search.search_loop import Found, Moment

FORMAT = 1
_MEMORY = "memory."
_FIELDS = ("x", "scores", "noise", "seeds")


def save_found(found: Found, path: str | Path) -> Path:
    """Write it at once; a process killed meanwhile leaves the previous file."""
    from safetensors.torch import save_file

    path = Path(path)
    tensors = {name: getattr(found, name) for name in _FIELDS if getattr(found, name) is not None}
    tensors |= {_MEMORY + name: value for name, value in found.memory.items()}
    about = {
        "format": FORMAT,
        "spent": asdict(found.spent),
        "history": [asdict(moment) for moment in found.history],
        "rounds": found.rounds,
        "done": found.done,
    }
    # Copies, since safetensors refuses tensors that share memory.
    plain = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    about = sealed({**about, "tensors": tensors_hash(plain)})
    with atomic_file(path) as temporary:
        save_file(plain, temporary, metadata={"about": json.dumps(about)})
    return path


def load_found(path: str | Path) -> Found:
    """The state that :func:`save_found` wrote, for ``run(..., resume=...)``.

    What ``watch`` was given after the last round goes on with a larger budget. The result of a run that ended
    is done, since a final sample may stand in the place of the one that was searched for.

    Raises:
        ValueError: no such file, one of a newer format, or a damaged one: its content is compared with the
            hash that was noted when it was written.
    """
    from safetensors import safe_open

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no search at {path}")
    with reading(path):
        with safe_open(str(path), framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        newer = int(about["format"]) > FORMAT
    if newer:
        raise ValueError(f"{path} has format {about['format']}, this windvane reads up to {FORMAT}")
    check_seal(about, path)
    with reading(path):
        if about.get("tensors", "") not in ("", tensors_hash(tensors)):
            raise ValueError("its numbers do not have the hash that was noted when it was written")
        history = tuple(Moment(m["rows"], m["verified"], tuple(m["scores"])) for m in about["history"])
        found = Found(tensors["x"], tensors["scores"].to(torch.float64), Spent(**about["spent"]), history)
        return replace(
            found,
            noise=tensors.get("noise"),
            seeds=tensors.get("seeds"),
            rounds=about["rounds"],
            memory={name.removeprefix(_MEMORY): v for name, v in tensors.items() if name.startswith(_MEMORY)},
            done=about["done"],
        )
