"""Batches come from a thread: the same ones, none too many, with its errors, and it never stays behind."""

import threading
import time

import pytest
import torch

from tests.training.tiny import assert_same_weights, conditions, data, mlp, short, weights
from windvane.process import VPCosine
from windvane.training.ahead import BatchesAhead
from windvane.training.batches import Batches, TensorData
from windvane.training.times import default_times


class Watched:
    """The tiny data, which notes who asks for what, and fails at call ``fails``."""

    def __init__(self, fails=None, seconds=0.0):
        self.values, self.fails, self.seconds = data(), fails, seconds
        self.threads, self.calls = [], []

    def __len__(self):
        return len(self.values)

    def batch(self, indices):
        if len(indices) > 1:  # not the look at the shape
            self.threads.append(threading.current_thread().name)
            self.calls.append(indices.clone())
            time.sleep(self.seconds)
            if len(self.calls) - 1 == self.fails:
                raise OSError("the disk is gone")
        return self.values[indices]


def left_behind():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("windvane-batches")]


def source(values, **changed):
    settings = dict(batch_size=8, seed=2, times=default_times(VPCosine()), dropout=0.3, flip=False)
    return Batches(values, conditions(), **{**settings, **changed})


def assert_same_batch(one, two):
    for name in ("x0", "noise", "t"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    assert torch.equal(one.cond.signals["vector"], two.cond.signals["vector"])
    assert torch.equal(one.cond.present["vector"], two.cond.present["vector"])


def test_the_batches_are_those_drawn_in_series():
    plain, watched = source(TensorData(data())), Watched()
    with BatchesAhead(source(watched), 9, worth=0) as ahead:
        for step in (0, 1, 2, 5, 6, 7, 8):  # a jump, too
            assert_same_batch(ahead.load(step), plain.load(step))
    assert set(watched.threads) == {"windvane-batches_0"} and not left_behind()


def test_the_next_batch_is_read_while_the_step_runs_and_none_after_the_last():
    watched = Watched()
    with BatchesAhead(source(watched), 2, worth=0) as ahead:
        ahead.load(0)
        for _ in range(500):
            if len(watched.calls) == 2:
                break
            time.sleep(0.01)
        assert len(watched.calls) == 2
        ahead.load(1)
    assert len(watched.calls) == 2


def test_the_thread_computes_alone_and_leaves_the_cores_to_the_step():
    found, before = [], torch.get_num_threads()

    class Counting(Watched):
        def batch(self, indices):
            found.append((threading.current_thread().name, torch.get_num_threads()))
            return super().batch(indices)

    torch.set_num_threads(2)
    try:
        with BatchesAhead(source(Counting()), 2, worth=0) as ahead:
            ahead.load(0)
            other = threading.Thread(target=lambda: found.append(("other", torch.get_num_threads())))
            other.start()
            other.join()
            found.append(("step", torch.get_num_threads()))
    finally:
        torch.set_num_threads(before)
    assert {number for name, number in found if name.startswith("windvane")} == {1}
    assert {number for name, number in found if name in ("other", "step")} == {2}


def test_small_batches_are_drawn_in_their_step_and_slow_ones_ahead():
    plain, quick = source(TensorData(data())), Watched()
    with BatchesAhead(source(quick), 9, worth=60.0) as ahead:
        for step in range(9):
            assert_same_batch(ahead.load(step), plain.load(step))
    assert set(quick.threads) == {"MainThread"}
    slow = Watched(seconds=0.01)
    with BatchesAhead(source(slow), 9) as ahead:
        for step in range(9):
            assert_same_batch(ahead.load(step), plain.load(step))
    assert slow.threads == ["MainThread"] * 3 + ["windvane-batches_0"] * 6 and not left_behind()


class Observing:
    """Times that depend on every loss seen so far."""

    observes = True

    def __init__(self):
        self.seen = 0.0

    def draw(self, n, generator):
        return torch.rand(n, generator=generator, dtype=torch.float64) * 0.5 + 0.4 / (1 + self.seen)

    def observe(self, t, losses):
        self.seen += float(losses.mean())

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


def test_times_that_learn_from_the_losses_see_them_all(monkeypatch):
    ahead = short(mlp(), times=Observing())
    monkeypatch.setattr(BatchesAhead, "load", lambda self, *place: self.batches.load(*place))
    assert_same_weights(weights(ahead.raw), weights(short(mlp(), times=Observing()).raw))


def test_an_error_of_the_data_comes_in_its_own_step():
    watched = Watched(fails=4)
    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        short(mlp(), values=watched, log_every=1, callbacks=[lambda snapshot: seen.append(snapshot.step)])
    assert seen == [1, 2, 3, 4] and not left_behind()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_no_thread_stays_after_an_interrupt_or_a_failure(error):
    def fail(snapshot):
        raise error

    watched = Watched(seconds=0.05)
    with pytest.raises(error):
        short(mlp(), values=watched, log_every=1, callbacks=[fail])
    assert not left_behind() and len(watched.calls) <= 2
