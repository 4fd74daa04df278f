"""A tree in a folder: ``tree.npz`` with numbers and settings, and a file of states that only grows.

Rows are appended to the states first, and ``tree.npz``, which says how many of them count, is replaced
afterwards at once: a process killed in between leaves the previous tree.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from windvane.damage import Damaged, check_inflation, reading
from windvane.files import atomic_file
from windvane.hashes import check_seal, sealed
from windvane.samplers import Sampler
from windvane.search.budget import Meter, Spent
from windvane.search.chain import Chain
from windvane.search.nodes import Nodes
from windvane.search.rewards import Reward, Verifier
from windvane.search.states import States
from windvane.search.tree_parts import Open, Tree

T = TypeVar("T", bound=Tree)

FORMAT = 1
NAME = "tree.npz"
_ABOUT, _SUMS = "about", "sums"


def save(tree: Tree, folder: Path, *, leaves_only: bool) -> Path:
    """Write the tree, appending to the folder's states where they are this tree's own."""
    place, name = tree.place, tree.states.path
    if tree.kept is not None and not leaves_only:
        raise ValueError("this tree has its leaves only; save it with leaves_only=True")
    known = read_about(folder) if (folder / NAME).exists() else None
    ours = known is not None and place.folder == folder.resolve() and known["save"] == place.save
    kept = tree.nodes.leaves() if leaves_only else None
    token = place.token
    if name is not None and name.parent.resolve() == folder.resolve() and not leaves_only:
        tree.states.sync()
        token = name.stem.removeprefix("states-")
    else:
        whole = not ours or leaves_only or known is None
        token = secrets.token_hex(8) if whole else token
        first = 0 if whole or known is None else int(known["states"])
        ids = None
        if kept is not None:
            ids = kept - 1 if tree.kept is None else np.arange(len(kept))
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / f"states-{token}.bin", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            tree.states.copy_to(handle, first, ids)
            os.fsync(handle)
        finally:
            os.close(handle)
    made = secrets.token_hex(8)
    about = {
        "format": FORMAT,
        "save": made,
        "token": token,
        "states": len(tree.states) if kept is None else len(kept),
        "leaves_only": leaves_only,
        "settings": settings_of(tree),
        "grown": tree.grown,
        "opened": tree.opened and tree.opened.as_json(),
        "spent": [tree.spent.calls, tree.spent.rows, tree.spent.verified],
        "costs": tree.chain.costs,
    }
    sums = np.array(tree.states.sums, dtype=np.uint64)
    if kept is not None:
        sums = sums[kept - 1 if tree.kept is None else np.arange(len(kept))]
    arrays = {**tree.nodes.arrays(), _SUMS: sums}
    about = sealed({**about, "arrays": _hash(arrays)})
    with atomic_file(folder / NAME) as temporary:
        text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
        np.savez(temporary, **arrays, **{_ABOUT: text})  # type: ignore[arg-type]
    if not leaves_only:
        # The name of the save last: broken off before, the next save finds another's and writes anew.
        place.token, place.folder, place.save = token, folder.resolve(), made
    for other in folder.glob("states-*.bin"):
        own = re.fullmatch(r"states-[0-9a-f]{16}\.bin", other.name)  # by its token; no file of the user's
        if own and other.name != f"states-{token}.bin" and other != name:
            other.unlink()
    return folder


def load(
    kind: Callable[..., T],
    folder: Path,
    chain: Chain,
    reward: Reward | Verifier,
    *,
    proposal: Sampler | None,
    on_disk: bool,
) -> T:
    """The tree in ``folder``, for a chain and a reward that are those it was grown with.

    Raises:
        ValueError: another chain, no tree there, or damage: numbers are compared with their hash now, states
            when they are read.
    """
    about = read_about(folder)
    with reading(folder / NAME):
        arrays = _arrays(folder / NAME, about)
    given = about["settings"]["tree"]
    tree = kind(
        chain,
        reward,
        lam=float(given["lam"]),
        branch_at=given["branch_at"],
        widening=given["widening"],
        exponent=given["exponent"],
        star=given["star"],
        c_uct=given["c_uct"],
        explore=given["explore"],
        proposal=proposal,
        corrected=given["corrected"],
        seed=given["seed"],
        precision=getattr(torch, given["precision"]),
    )
    own = settings_of(tree)["chain"]
    different = [name for name, value in about["settings"]["chain"].items() if own[name] != value]
    if different:
        told = "; ".join(
            f"{name} {about['settings']['chain'][name]!r:.80}, now {own[name]!r:.80}" for name in different
        )
        raise ValueError(f"the tree in {folder} was grown with another {told}")
    sums = arrays.pop(_SUMS, None)
    tree.nodes = Nodes.of(arrays)
    tree.grown, tree.meter = about["grown"], Meter(Spent(*about["spent"]))
    opened = about.get("opened")
    tree.opened = None if opened is None else Open.of_json(opened)
    chain.costs = list(about["costs"])
    tree.kept = tree.nodes.leaves() if about["leaves_only"] else None
    tree.place.token, tree.place.folder, tree.place.save = about["token"], folder.resolve(), about["save"]
    path = folder / f"states-{about['token']}.bin"
    known = None if sums is None else sums.tolist()
    states = States(chain.shape, tree.states.dtype, path=path, count=about["states"], sums=known)
    if not path.is_file() or path.stat().st_size < len(states) * states.row_bytes:
        raise Damaged(path, f"it is shorter than the {len(states)} states of the tree")
    if not on_disk:
        stored, states = states, States(chain.shape, states.dtype)
        for first in range(0, len(stored), 1024):
            states.append(stored.get(np.arange(first, min(first + 1024, len(stored)))))
    tree.states = states
    return tree


def read_about(folder: Path) -> dict[str, Any]:
    """What ``tree.npz`` says about the tree."""
    path = folder / NAME
    if not path.is_file():
        raise ValueError(f"there is no tree in {folder}: it has no {NAME}")
    check_inflation(path, ratio=100, free=2**28)
    with reading(path):
        with np.load(path, allow_pickle=False) as saved:
            about = json.loads(saved[_ABOUT].tobytes().decode())
        newer = int(about["format"]) > FORMAT
    if newer:
        raise ValueError(f"{path} has format {about['format']}, this windvane reads up to {FORMAT}")
    check_seal(about, path)
    return about


def _arrays(path: Path, about: dict[str, Any]) -> dict[str, np.ndarray]:
    """The numbers of the nodes and of the states, compared with their hash."""
    with np.load(path, allow_pickle=False) as saved:
        arrays = {name: saved[name] for name in saved.files if name != _ABOUT}
    if about.get("arrays", "") not in ("", _hash(arrays)):
        raise ValueError("its numbers do not have the hash that was noted when it was written")
    if _SUMS in arrays and len(arrays[_SUMS]) != about["states"]:
        raise ValueError(f"it knows {len(arrays[_SUMS])} states, and says {about['states']}")
    return arrays


def _hash(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def settings_of(tree: Tree) -> dict[str, Any]:
    """What a tree's future depends on, and can be compared."""
    chain, rollouts = tree.chain, tree.rollouts
    return {
        "tree": {
            "lam": str(tree.lam),
            "branch_at": list(tree.levels[1:-1]),
            "widening": tree.selection.widening,
            "exponent": tree.selection.exponent,
            "star": tree.star,
            "c_uct": tree.selection.c_uct,
            "explore": tree.selection.explore,
            "corrected": rollouts.corrected,
            "seed": tree.seed,
            "precision": str(rollouts.precision).removeprefix("torch."),
        },
        "chain": {
            "reward": tree.verifier.names[0],
            "sampler": repr(chain.sampler),
            "proposal": None if rollouts.proposal is None else type(rollouts.proposal).__name__,
            "process": repr(chain.process),
            "shape": list(chain.shape),
            "times": chain.times.tolist(),
            "clip": repr(chain.clip),
        },
    }
