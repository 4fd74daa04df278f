"""A tree that is saved into a folder as it grows."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from windvane.search.budget import Budget
from windvane.search.tree import DiffusionTree

#: A large tree takes a while to write: of the time, one part in so many may go into it.
_WRITING, _LEAST = 20, 0.5


def grow_in_folder(
    tree: DiffusionTree,
    folder: str | Path,
    budget: Budget,
    *,
    batch: int = 16,
    watch: Callable[[DiffusionTree], Any] | None = None,
) -> DiffusionTree:
    """Grow ``tree`` until it has spent ``budget`` in all, and save it as it grows and at the end.

    What is saved is whole at any moment: after an interruption ``DiffusionTree.load(folder, ...)`` and this
    function go on, and give what an uninterrupted growth would have given.

    Args:
        budget: of the whole tree; what it has spent before counts. A tree that has spent it is left as it is.
        batch: rollouts side by side, which the tree depends on.
        watch: called after every batch; a true value ends the growth.
    """
    saved = {"at": time.monotonic(), "took": 0.0}

    def save() -> None:
        begin = time.monotonic()
        tree.save(folder)
        saved["at"], saved["took"] = time.monotonic(), time.monotonic() - begin

    def watched(tree: DiffusionTree) -> Any:
        if time.monotonic() - saved["at"] > _WRITING * saved["took"] + _LEAST:
            save()
        return watch is not None and watch(tree)

    network = None if budget.network is None else budget.network - tree.spent.rows
    verifier = None if budget.verifier is None else budget.verifier - tree.spent.verified
    try:
        if (network is None or network > 0) and (verifier is None or verifier > 0):
            tree.grow(network, verifications=verifier, batch=batch, watch=watched)
    finally:
        if tree.grown:
            save()
    return tree
