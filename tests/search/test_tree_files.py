"""Trees that are stopped, killed, refused a reward, and go on as if nothing had happened."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.search.cases import ancestral, right
from windvane.samplers import DDPM
from windvane.search import Budget, Chain, DiffusionTree, RewardError, grow_in_folder
from windvane.search.nodes import Nodes

PROGRAM = """
import sys, time
from tests.search.cases import ancestral, right
from windvane.search import DiffusionTree

def step(tree):
    tree.save(sys.argv[1])
    print(tree.grown, flush=True)
    time.sleep(0.02)

DiffusionTree(ancestral(), right, seed=3).grow(rollouts=4000, batch=8, watch=step, progress=False)
"""


def assert_same(one, other):
    arrays = zip(one.nodes.arrays().items(), other.nodes.arrays().values())
    assert all(np.array_equal(a, b, equal_nan=True) for (_, a), b in arrays)
    assert len(one.states) == len(other.states)
    assert torch.equal(one.states.get(range(len(one.states))), other.states.get(range(len(one.states))))
    assert (one.grown, one.spent) == (other.grown, other.spent)


def planted(**settings):
    return DiffusionTree(ancestral(), right, seed=3, **settings)


def test_a_tree_grown_in_a_folder_is_saved_when_it_stops_and_goes_on(tmp_path):
    budget = Budget(network=int(planted().chain.cost() * 60))
    whole = grow_in_folder(planted(), tmp_path / "whole", budget, batch=8)
    batches = []

    def third(tree):
        batches.append(tree.grown)
        return len(batches) == 3

    grow_in_folder(planted(), tmp_path / "part", budget, batch=8, watch=third)
    loaded = DiffusionTree.load(tmp_path / "part", ancestral(), right)
    assert loaded.grown == batches[-1] < whole.grown
    assert_same(grow_in_folder(loaded, tmp_path / "part", budget, batch=8), whole)
    spent = whole.spent
    assert grow_in_folder(whole, tmp_path / "whole", budget, batch=8).spent == spent, "nothing is left"
    assert_same(DiffusionTree.load(tmp_path / "whole", ancestral(), right), whole)


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
def test_saved_and_grown_on_equals_never_stopped(tmp_path, on_disk):
    whole = planted().grow(rollouts=129, batch=8, progress=False)
    part = planted().grow(rollouts=65, batch=8, progress=False)
    part.save(tmp_path / "tree")
    loaded = DiffusionTree.load(tmp_path / "tree", ancestral(), right, on_disk=on_disk)
    assert_same(part, loaded)
    assert_same(loaded.grow(rollouts=64, batch=8, progress=False), whole)
    loaded.save(tmp_path / "tree")
    assert_same(DiffusionTree.load(tmp_path / "tree", ancestral(), right), whole)
    assert len(list((tmp_path / "tree").iterdir())) == 2


@pytest.mark.parametrize("star", [False, True], ids=["dts", "star"])
@pytest.mark.parametrize(
    "parts",
    [
        [{"rollouts": count} for count in (1, 5, 2, 30, 1, 8, 200)],
        [{"nfe": rows} for rows in (63, 10, 7, 333, 20, 411, 2000)],
        [{"verifications": count} for count in (3, 17, 40, 1, 200)],
    ],
    ids=["rollouts", "evaluations", "rewards"],
)
def test_a_tree_does_not_depend_on_where_limits_cut_its_batches(tmp_path, star, parts):
    """Grown in parts, saved and loaded after each, it is the tree that was grown at once."""
    settings = {"star": star, "widening": 1.0, "exponent": 0.5}
    tree, cut = planted(**settings), 0
    for part in parts:
        tree.grow(**part, progress=False)
        tree.save(tmp_path)
        tree = DiffusionTree.load(tmp_path, ancestral(), right)
        cut += tree.opened is not None
    assert cut > len(parts) - 3
    whole = planted(**settings).grow(rollouts=tree.grown, progress=False)
    assert tree.spent.rows == whole.spent.rows and tree.opened == whole.opened
    for name, values in tree.nodes.arrays().items():
        assert np.allclose(values, whole.nodes.arrays()[name], rtol=1e-3, atol=1e-3, equal_nan=True), name
    assert np.array_equal(tree.nodes.arrays()["visits"], whole.nodes.arrays()["visits"])


def test_the_rest_of_a_cut_batch_is_chosen_among_the_nodes_of_before():
    """Its first part has made an excellent child; the rest may not choose it, nor see its value."""
    tree = planted(star=True, widening=1.0, exponent=0.5, c_uct=0.3).grow(rollouts=33, progress=False)
    count = len(tree)
    tree.grow(rollouts=6, progress=False)
    assert tree.opened is not None and tree.opened.made == 6 and tree.opened.first == count
    tree.nodes.reward[count : len(tree)] = np.where(
        np.isnan(tree.nodes.reward[count : len(tree)]), np.nan, 99.0
    )
    tree.nodes.value[count : len(tree)] = 99.0
    rest = len(tree)
    tree.grow(rollouts=10, progress=False)
    assert tree.opened is None
    assert all(tree.nodes.parent[node] not in range(count, rest) for node in range(rest, len(tree)))


def test_nothing_is_grown_where_nothing_is_left():
    tree = planted().grow(rollouts=20, progress=False)
    before = tree.spent
    for left in ({"nfe": 0}, {"nfe": -5}, {"rollouts": 0}, {"nfe": 100, "verifications": 0}):
        assert tree.grow(**left, progress=False).spent == before


def test_a_killed_process_leaves_a_tree_that_grows_on_exactly(tmp_path):
    """kill -9 in mid-growth, whatever it was doing; the tree that was saved last goes on to the same end."""
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "tree")],
        stdout=subprocess.PIPE, text=True, cwd=os.getcwd(),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    for _ in range(12):
        assert child.stdout.readline()
    time.sleep(0.013)
    child.send_signal(signal.SIGKILL)
    child.wait()
    resumed = DiffusionTree.load(tmp_path / "tree", ancestral(), right)
    assert 80 <= resumed.grown < 4000
    target = resumed.grown + 200
    resumed.grow(rollouts=200, batch=8, progress=False)
    assert_same(resumed, planted().grow(rollouts=target, batch=8, progress=False))


def test_rows_beyond_the_saved_ones_are_ignored(tmp_path):
    """A process killed between its states and its numbers leaves a longer file of states."""
    tree = planted().grow(rollouts=20, progress=False)
    tree.save(tmp_path)
    (states,) = tmp_path.glob("states-*.bin")
    with states.open("ab") as file:
        file.write(b"\xff" * 1000)
    loaded = DiffusionTree.load(tmp_path, ancestral(), right, on_disk=True)
    assert_same(loaded, tree)
    assert_same(loaded.grow(rollouts=32, progress=False), tree.grow(rollouts=32, progress=False))
    os.truncate(states, 3)
    with pytest.raises(ValueError, match="shorter than the"):
        DiffusionTree.load(tmp_path, ancestral(), right)


def test_two_trees_in_turn_in_one_folder_do_not_mix(tmp_path):
    planted().grow(rollouts=20, progress=False).save(tmp_path)
    one, other = (DiffusionTree.load(tmp_path, ancestral(), right) for _ in range(2))
    one.grow(rollouts=10, batch=1, progress=False).save(tmp_path)
    other.grow(rollouts=30, batch=16, progress=False).save(tmp_path)
    one.save(tmp_path)
    assert_same(DiffusionTree.load(tmp_path, ancestral(), right), one)


def test_states_in_a_file_are_those_in_memory(tmp_path):
    memory = planted().grow(rollouts=60, progress=False)
    disk = planted(folder=tmp_path / "states").grow(rollouts=60, progress=False)
    assert_same(memory, disk)
    disk.save(tmp_path / "states")
    assert_same(DiffusionTree.load(tmp_path / "states", ancestral(), right), memory)
    disk.save(tmp_path / "elsewhere")
    disk.grow(rollouts=10, progress=False).save(tmp_path / "states")
    assert_same(DiffusionTree.load(tmp_path / "states", ancestral(), right), disk)


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        (lambda x: 1 / 0, "raised ZeroDivisionError: division by zero"),
        (lambda x: torch.full((len(x),), float("nan")), "is nan in"),
        (lambda x: x, "must give a tensor with one value per sample"),
        (lambda x: 3.0, "got float"),
        (lambda x: torch.full((len(x),), -float("inf")), "is -inf in"),
    ],
    ids=["raises", "nan", "shape", "number", "infinity"],
)
def test_a_reward_that_fails_leaves_the_tree_as_it_was(tmp_path, broken, match):
    """The failed batch leaves no trace but its cost; the tree is saved, and grows on with a sound reward."""
    calls = []

    def moody(x):
        calls.append(len(x))
        return broken(x) if len(calls) == 5 else right(x)

    tree, sound = DiffusionTree(ancestral(), moody, seed=3), planted()
    sound.grow(rollouts=49, progress=False)
    with pytest.raises(RewardError, match=match):
        tree.grow(rollouts=200, progress=False)
    for name, values in tree.nodes.arrays().items():
        assert np.array_equal(values, sound.nodes.arrays()[name], equal_nan=True), name
    tree.save(tmp_path)
    assert tree.grown == 49 and tree.spent.rows > sound.spent.rows
    sound.grow(rollouts=32, progress=False)
    tree.grow(rollouts=32, progress=False)
    assert np.array_equal(tree.nodes.arrays()["reward"], sound.nodes.arrays()["reward"], equal_nan=True)
    assert np.array_equal(tree.nodes.arrays()["visits"], sound.nodes.arrays()["visits"])


def lines_of_a_batch(tree, stop=None):
    """The lines of the search's own code that a batch runs; at number ``stop`` Ctrl-C is pressed."""
    seen = []

    def trace(frame, event, argument):
        if f"windvane{os.sep}search" not in frame.f_code.co_filename:
            return None
        if event == "line":
            seen.append((frame.f_code.co_filename, frame.f_lineno))
            if len(seen) - 1 == stop:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        tree.grow(rollouts=8, progress=False)
    finally:
        sys.settrace(before)
    return seen


@pytest.mark.parametrize(("on_disk", "start"), [(False, 49), (True, 41)], ids=["memory", "disk-open"])
def test_an_interrupt_at_any_line_of_a_batch_leaves_the_tree_as_it_was(tmp_path, on_disk, start):
    """At the first and the last time that each line runs: selection, rollouts, reward, states, nodes.

    After 41 rollouts a batch is open, and its rest is broken off.
    """
    folder = tmp_path / "states" if on_disk else None

    def fresh(rollouts):
        return planted(folder=folder).grow(rollouts=rollouts, progress=False)

    lines = lines_of_a_batch(fresh(start))
    times = {line: (lines.index(line), len(lines) - 1 - lines[::-1].index(line)) for line in lines}
    files = {Path(file).stem for file, _ in times}
    assert {"tree", "expansion", "selection", "nodes", "states", "rollouts", "rewards", "chain"} <= files
    tree, before = fresh(start), planted().grow(rollouts=start, progress=False)
    whole = 0
    for stop in sorted({number for pair in times.values() for number in pair}):
        with contextlib.suppress(KeyboardInterrupt):
            lines_of_a_batch(tree, stop)
        tree.settle()
        if tree.grown == start + 8:  # the batch was whole already, or arrays that had grown made it shorter
            assert len(tree) > len(before)
            whole, tree = whole + 1, fresh(start)
            continue
        unlike = [
            n for n, v in tree.nodes.arrays().items() if not np.array_equal(v, before.nodes.arrays()[n], True)
        ]
        assert not unlike and tree.grown == start, f"{lines[stop]} leaves other {unlike}"
        assert len(tree.states) == len(before.states) and tree.opened == before.opened
    assert whole < 30
    tree.grow(rollouts=40, progress=False)
    before.grow(rollouts=40, progress=False)
    tree.meter.spent = before.spent  # what was broken off has been paid for
    assert_same(tree, before)


def test_an_interrupt_of_the_taking_back_is_made_good_when_the_tree_is_saved(tmp_path, monkeypatch):
    """Ctrl-C in the backup, and again where the nodes are cut."""
    tree, before = (planted().grow(rollouts=49, progress=False) for _ in range(2))

    def pressed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Nodes, "back_up", pressed)
        patch.setattr(Nodes, "cut", pressed)
        with pytest.raises(KeyboardInterrupt):
            tree.grow(rollouts=16, progress=False)
    assert len(tree.nodes) > len(before.nodes)
    tree.meter.spent = before.spent
    tree.save(tmp_path)
    assert_same(DiffusionTree.load(tmp_path, ancestral(), right), before)


def test_a_grown_array_that_was_broken_off_grows_on(monkeypatch):
    """Arrays double one after the other; an interrupt between two of them does no harm."""
    nodes, calls, add = Nodes(), [], np.zeros_like

    def moody(values):
        calls.append(len(values))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return add(values)

    monkeypatch.setattr("windvane.search.nodes.np.zeros_like", moody)
    with pytest.raises(KeyboardInterrupt):
        for _ in range(64):
            nodes.add(parent=0, depth=1, log_ratio=0.0, reward=1.0)
    for _ in range(100):
        nodes.add(parent=0, depth=1, log_ratio=0.0, reward=2.0)
    assert len(nodes) == 164 and len(set(map(len, nodes.arrays().values()))) == 1
    assert nodes.reward[60:70].tolist() == [1.0] * 4 + [2.0] * 6


def test_leaves_alone_can_be_sampled_but_not_grown(tmp_path):
    tree = planted().grow(rollouts=60, progress=False)
    tree.save(tmp_path / "whole")
    tree.save(tmp_path / "leaves", leaves_only=True)
    sizes = [next((tmp_path / name).glob("states-*")).stat().st_size for name in ("whole", "leaves")]
    assert sizes[1] == len(tree.nodes.leaves()) * 4 < sizes[0]
    leaves = DiffusionTree.load(tmp_path / "leaves", ancestral(), right)
    assert torch.equal(leaves.sample(20), tree.sample(20))
    assert torch.equal(leaves.best(3)[0], tree.best(3)[0])
    with pytest.raises(ValueError, match="sampled but not grown"):
        leaves.grow(rollouts=1)


def test_another_chain_or_reward_is_refused_by_name(tmp_path):
    planted().grow(rollouts=20, progress=False).save(tmp_path)
    with pytest.raises(ValueError, match=r"another times .*|another sampler"):
        DiffusionTree.load(tmp_path, ancestral(steps=20), right)
    with pytest.raises(ValueError, match="another reward 'right', now 'left'"):

        def left(x):
            return -x[:, 0]

        DiffusionTree.load(tmp_path, ancestral(), left)
    with pytest.raises(ValueError, match="there is no tree"):
        DiffusionTree.load(tmp_path / "nowhere", ancestral(), right)
    other = Chain(ancestral().denoiser, sampler=DDPM(variance="large"), steps=10)
    with pytest.raises(ValueError, match="another sampler"):
        DiffusionTree.load(tmp_path, other, right)


def test_a_watch_may_stop(tmp_path):
    tree = planted().grow(rollouts=1000, watch=lambda tree: tree.grown > 40, progress=False)
    assert 40 < tree.grown < 64
