"""One batch of a tree's rollouts: chosen, run, judged and added, or taken back as a whole."""

import math
import warnings
from collections.abc import Sequence

import torch

from windvane.evaluations import EvaluationLimit
from windvane.search.budget import Budget
from windvane.search.nodes import Nodes
from windvane.search.tree_parts import Log, Open, Tree

IDLE_ROLLOUTS = 10_000


class Idle:
    """Notices a tree that only comes back to finished samples, which would never use up what it may spend.

    A node has its (k + 1)-th child after (k / C)^(1 / alpha) visits. With C = 1 and alpha = 1 / 2 that is a
    short wait beside the visits before it; with alpha = 1 / 20 the third child takes a million.

    Args:
        rollouts: a limit on rollouts; with one, growth ends by itself.
    """

    def __init__(self, tree: Tree, rollouts: int | None) -> None:
        self.spent, self.since, self.bounded = tree.spent, tree.grown, rollouts is not None

    def long(self, tree: Tree) -> bool:
        """Whether the last ``IDLE_ROLLOUTS`` or more, and half of all, have spent nothing; warns if so."""
        if tree.spent != self.spent:
            self.spent, self.since = tree.spent, tree.grown
        idle = tree.grown - self.since
        if self.bounded or idle < IDLE_ROLLOUTS or 2 * idle < tree.grown:
            return False
        chosen = tree.selection
        warnings.warn(
            f"the last {idle} rollouts came back to finished samples, which spends nothing, and growth ends "
            f"here: with widening={chosen.widening:g} and exponent={chosen.exponent:g} it branches too "
            "seldom; take a larger exponent, such as 0.5, for a new tree",
            stacklevel=3,
        )
        return True


def grow_once(tree: Tree, most: int, size: int, budget: Budget) -> bool:
    """A batch of ``size`` rollouts, or ``most`` of them, or what is missing of the last batch.

    False where the budget does not pay for a single rollout. Whatever breaks it off, at whatever point, the
    tree is left as it was: what the batch changes is written down first and taken back here, or, where that
    is broken off too, before the tree is used again.
    """
    tree.settle()
    tree.log = Log(tree.nodes, tree.states, tree.grown, tree.opened)
    try:
        made = _batch(tree, tree.log, most, size, budget)
    except EvaluationLimit:  # a step proved dearer than was thought
        made = False
    except BaseException:
        tree.settle()
        raise
    if not made:
        tree.settle()
    tree.log = None
    return made


def _batch(tree: Tree, log: Log, most: int, size: int, budget: Budget) -> bool:
    nodes = tree.nodes
    batch = tree.opened or Open(size if tree.grown else 1, 0, len(nodes))
    log.note(batch.values)
    for node, value in batch.values.items():
        nodes.value[node] = value
    paths = _selected(tree, log, min(most, batch.size - batch.made), batch.first, budget)
    if not paths:
        return False
    touched = {node for path in paths for node in path} | batch.values.keys()
    before = {node: float(nodes.value[node]) for node in touched}
    starts = [path[-1] for path in paths if not _finished(tree, path[-1])]
    with tree.meter.counting(budget):
        made = tree.rollouts.run(starts, nodes, tree.states)
    rewards = tree.verifier.scores(made.leaves, tree.chain.condition(torch.zeros(len(starts)).long()))
    tree.meter.verified(len(starts))
    tree.states.append(made.rows)
    for start, ratios, reward in zip(starts, made.log_ratios, rewards[:, 0].tolist()):
        touched.update(_added(nodes, start, ratios, reward))
    nodes.back_up((node for node in touched if not _finished(tree, node)), tree.lam)
    tree.grown += len(paths)
    there = batch.made + len(paths)
    tree.opened = None if there == batch.size else Open(batch.size, there, batch.first, before)
    return True


def _selected(tree: Tree, log: Log, most: int, first: int, budget: Budget) -> list[list[int]]:
    """The paths of ``most`` rollouts, or of those the budget pays for, each with its visits counted."""
    paths: list[list[int]] = []
    pending: dict[int, int] = {}
    rows = verified = 0.0
    for number in range(tree.grown, tree.grown + most):
        path = tree.selection.path(tree.nodes, number, pending, first)
        if not _finished(tree, path[-1]):
            rows += tree.chain.cost(tree.levels[int(tree.nodes.depth[path[-1]])])
            verified += 1
            pending[path[-1]] = pending.get(path[-1], 0) + 1
        if not budget.pays(tree.spent, rows, verified):
            break
        log.note(path)
        tree.nodes.visits[path] += 1
        paths.append(path)
    return paths


def _added(nodes: Nodes, start: int, ratios: Sequence[float], reward: float) -> list[int]:
    """The nodes of one rollout from ``start``, down to its leaf."""
    parent, added = start, []
    for k, ratio in enumerate(ratios):
        last = k == len(ratios) - 1
        depth = int(nodes.depth[parent]) + 1
        parent = nodes.add(parent=parent, depth=depth, log_ratio=ratio, reward=reward if last else math.nan)
        if not last:  # its own visit of this rollout
            nodes.visits[parent] += 1
        added.append(parent)
    return added


def _finished(tree: Tree, node: int) -> bool:
    return tree.selection.finished(tree.nodes, node)
