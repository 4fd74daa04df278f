"""The nodes of a tree: who descends from whom, visits and soft values. Numbers only, no states."""

import math
from array import array
from collections.abc import Iterable

import numpy as np

_FIELDS = {
    "parent": np.int32,
    "depth": np.int16,
    "visits": np.int64,
    "value": np.float64,
    "log_ratio": np.float64,
    "reward": np.float64,
}
ROOT = 0


class Nodes:
    """Arrays over nodes in the order in which they were made; node 0 is the root, before all noise.

    ``value`` is the soft value v, ``log_ratio`` log p(node | parent) - log q(node | parent) for nodes drawn
    from a proposal q, ``reward`` the reward of a finished sample and NaN elsewhere.
    """

    parent: np.ndarray
    depth: np.ndarray
    visits: np.ndarray
    value: np.ndarray
    log_ratio: np.ndarray
    reward: np.ndarray

    def __init__(self) -> None:
        self.count = 0
        self._children: dict[int, array] = {}
        for name, kind in _FIELDS.items():
            setattr(self, name, np.zeros(64, kind))
        self.add(parent=-1, depth=0, log_ratio=0.0, reward=math.nan)

    def __len__(self) -> int:
        return self.count

    def add(self, *, parent: int, depth: int, log_ratio: float, reward: float) -> int:
        """A new node with v = 0 and one visit; its number."""
        if self.count == len(self.reward):  # the one that grows last, whatever breaks the growth off
            for name in _FIELDS:
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros_like(old)]))
        node = self.count
        self.parent[node], self.depth[node], self.visits[node] = parent, depth, 1
        self.log_ratio[node], self.reward[node] = log_ratio, reward
        self.value[node] = 0.0 if math.isnan(reward) else reward
        self.count += 1
        if parent >= 0:
            self._children.setdefault(parent, array("i")).append(node)
        return node

    def cut(self, count: int) -> None:
        """Only the first ``count`` nodes again. May be broken off and called again."""
        for node in range(count, self.count):
            family = self._children.get(int(self.parent[node]))
            while family and family[-1] >= count:
                family.pop()
        self.count = count

    def children(self, node: int, first: int | None = None) -> np.ndarray:
        """The children in the order in which they came, int32; only those before node ``first``."""
        family = self._children.get(node)
        if family is None:
            return np.empty(0, np.int32)
        found = np.array(family, dtype=np.int32)  # a copy: an array that is looked at cannot grow
        return found if first is None else found[: np.searchsorted(found, first)]

    def family(self, node: int) -> int:
        """How many children a node has."""
        found = self._children.get(node)
        return 0 if found is None else len(found)

    def path(self, node: int) -> list[int]:
        """From the root to the node, both included."""
        found = [node]
        while found[-1] != ROOT:
            found.append(int(self.parent[found[-1]]))
        return found[::-1]

    def back_up(self, nodes: Iterable[int], lam: float) -> None:
        """Renew the soft values of inner nodes, the deepest first:

        v = (1 / lam) log mean over children of exp(lam v_child + log_ratio), the largest at lam = infinity.
        """
        for node in sorted(set(nodes), key=lambda k: (-int(self.depth[k]), k)):
            of = self.children(node)
            if len(of):
                self.value[node] = soft_value(self.value[of], self.log_ratio[of], lam)

    def log_shares(self, node: int, lam: float, first: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The children, and log of the share of each in the tilted transition: softmax(lam v + log_ratio)."""
        of = self.children(node, first)
        if math.isinf(lam):
            top = self.value[of] == self.value[of].max()
            with np.errstate(divide="ignore"):
                return of, np.log(top / top.sum())
        score = lam * self.value[of] + self.log_ratio[of]
        return of, score - log_sum_exp(score)

    def log_probabilities(self, lam: float) -> np.ndarray:
        """log of the probability that a descent by :meth:`log_shares` passes through each node."""
        found = np.zeros(self.count)
        for node in range(self.count):  # parents come before their children
            if self.family(node):
                of, shares = self.log_shares(node, lam)
                found[of] = found[node] + shares
        return found

    def leaves(self) -> np.ndarray:
        """The finished samples, in the order in which they came."""
        return np.flatnonzero(~np.isnan(self.reward[: self.count]))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, to be written to a file."""
        return {name: getattr(self, name)[: self.count].copy() for name in _FIELDS}

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray]) -> "Nodes":
        """The nodes that :meth:`arrays` gave."""
        made = cls()
        missing = set(_FIELDS) - set(arrays)
        if missing:
            raise ValueError(f"a saved tree lacks {sorted(missing)}")
        for name, kind in _FIELDS.items():
            setattr(made, name, np.array(arrays[name], dtype=kind))
        made.count = len(made.parent)
        made._children = {}
        for node in range(1, made.count):
            made._children.setdefault(int(made.parent[node]), array("i")).append(node)
        return made


def soft_value(values: np.ndarray, log_ratios: np.ndarray, lam: float) -> float:
    """(1 / lam) log mean exp(lam v + log_ratio) in float64, with the largest taken out."""
    if math.isinf(lam):
        return float(values.max())
    return float((log_sum_exp(lam * values + log_ratios) - math.log(len(values))) / lam)


def log_sum_exp(values: np.ndarray) -> float:
    """log sum exp, with the largest value taken out."""
    top = float(values.max())
    return top + math.log(float(np.exp(values - top).sum()))


def pick(log_shares: np.ndarray, uniform: float, explore: float) -> int:
    """The index that a uniform number in [0, 1) picks, from shares mixed with ``explore`` of even ones."""
    shares = np.exp(log_shares)
    if explore:
        shares = (1 - explore) * shares + explore / len(shares)
    edges = np.cumsum(shares)
    return min(int(np.searchsorted(edges, uniform * edges[-1], side="right")), len(shares) - 1)
