"""What a tree is made of, as those see it that grow it and that save it."""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from windvane.search.budget import Meter, Spent
from windvane.search.chain import Chain
from windvane.search.nodes import Nodes
from windvane.search.rewards import Verifier
from windvane.search.rollouts import Rollouts
from windvane.search.selection import Selection
from windvane.search.states import States


@dataclass(frozen=True)
class Open:
    """A batch that a limit cut short, and what it takes to choose the rest of it as if it had been whole.

    Rollouts of a batch are chosen before any of them has changed a value, and none starts from another's
    nodes. So the rest is chosen by the values of before, among the nodes of before; visits count as ever.

    Args:
        size: rollouts of the whole batch; ``made`` of them are there.
        first: the number of the batch's first node.
        values: the values that its rollouts changed, as they were.
    """

    size: int
    made: int
    first: int
    values: Mapping[int, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """To be written to a file."""
        return {"size": self.size, "made": self.made, "first": self.first, "values": [*self.values.items()]}

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> "Open":
        """What :meth:`as_json` gave."""
        return cls(told["size"], told["made"], told["first"], {node: value for node, value in told["values"]})


class Log:
    """What a batch is about to change in a tree, written down before, so that it can be taken back.

    Taking back may itself be broken off and begun again: every step of it may be made twice.
    """

    def __init__(self, nodes: Nodes, states: States, grown: int, opened: Open | None) -> None:
        self.nodes, self.states, self.grown, self.opened = nodes, states, grown, opened
        self.count, self.rows = len(nodes), len(states)
        #: Visits and value, as they were, of every node that is touched.
        self.before: dict[int, tuple[int, float]] = {}

    def note(self, nodes: Iterable[int]) -> None:
        """Write down nodes that will change."""
        for node in nodes:
            if node not in self.before:
                self.before[node] = int(self.nodes.visits[node]), float(self.nodes.value[node])

    def take_back(self) -> None:
        """Nodes, states, visits and values as they were."""
        for node, (visits, value) in self.before.items():
            self.nodes.visits[node], self.nodes.value[node] = visits, value
        self.nodes.cut(self.count)
        self.states.cut(self.rows)


class Place:
    """Where a tree's states are: a token that names their file, and the last save that this tree made."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(8)
        self.folder: Path | None = None
        self.save: str | None = None

    def states(self, folder: Path) -> Path:
        """The file of states in ``folder``."""
        return folder / f"states-{self.token}.bin"


class Tree(Protocol):
    """A :class:`~windvane.search.tree.DiffusionTree`, see there."""

    chain: Chain
    verifier: Verifier
    lam: float
    star: bool
    seed: int
    levels: tuple[int, ...]
    selection: Selection
    rollouts: Rollouts
    nodes: Nodes
    meter: Meter
    grown: int
    place: Place
    states: States
    opened: Open | None
    log: Log | None
    kept: np.ndarray | None

    @property
    def spent(self) -> Spent: ...

    def settle(self) -> None: ...
