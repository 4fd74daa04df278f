"""Which node a rollout of a tree starts from."""

import math
from dataclasses import dataclass

import numpy as np

from windvane.randomness import derive_seed
from windvane.search.nodes import ROOT, Nodes, pick

_STREAM_SELECT = 1 << 47


@dataclass(frozen=True)
class Selection:
    """Progressive widening, and the choice among children; see :class:`~windvane.search.DiffusionTree`.

    Args:
        depth: of the finished samples.
    """

    depth: int
    lam: float
    widening: float
    exponent: float
    star: bool
    c_uct: float
    explore: float
    seed: int

    def __post_init__(self) -> None:
        if not (self.lam > 0 and self.widening > 0 and 0 < self.exponent <= 1):
            raise ValueError(
                "a tree needs lam > 0, widening > 0 and 0 < exponent <= 1, got "
                f"{self.lam}, {self.widening} and {self.exponent}"
            )
        if not (0 <= self.explore <= 1 and self.c_uct >= 0):
            raise ValueError(
                f"a tree needs 0 <= explore <= 1 and c_uct >= 0, got {self.explore} and {self.c_uct}"
            )

    def finished(self, nodes: Nodes, node: int) -> bool:
        """Whether a node is a finished sample."""
        return int(nodes.depth[node]) == self.depth

    def path(self, nodes: Nodes, number: int, pending: dict[int, int], first: int) -> list[int]:
        """From the root to a node that may have another child, or to a leaf, for rollout ``number``.

        ``pending`` holds how many children nodes will have once their batch has been made; they count for
        the widening, but cannot be chosen yet. Nor can nodes from ``first`` on, which a part of the batch
        has made already.
        """
        found = [ROOT]
        while not self.finished(nodes, found[-1]):
            node = found[-1]
            family, visits = nodes.family(node), float(nodes.visits[node])
            if not family or family + pending.get(node, 0) < self.widening * visits**self.exponent:
                break
            found.append(self._chosen(nodes, node, number, first))
        return found

    def _chosen(self, nodes: Nodes, node: int, number: int, first: int) -> int:
        if self.star:
            of = nodes.children(node, first)
            bonus = np.sqrt(math.log(nodes.visits[node]) / nodes.visits[of])
            return int(of[np.argmax(nodes.value[of] + self.c_uct * bonus)])
        of, shares = nodes.log_shares(node, self.lam, first)
        uniform = derive_seed(self.seed, _STREAM_SELECT, number, int(nodes.depth[node])) / 2**63
        return int(of[pick(shares, uniform, self.explore)])
