"""A training stopped in any way goes on as if nothing had happened."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import windvane
from tests.training.test_loop import Noisy
from tests.training.tiny import assert_same_weights, conditions, data, mlp, short, weights
from windvane.process import VPCosine
from windvane.runs import Run
from windvane.training import train

ROOT = Path(__file__).parents[2]


def lines(run):
    """The log without the one column that measures the machine."""
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in run.read_metrics()]


def assert_same_outcome(result, run, expected, expected_run):
    assert_same_weights(weights(result.raw), weights(expected.raw))
    assert_same_weights(weights(result.ema), weights(expected.ema))
    assert lines(run) == lines(expected_run)
    table = [run.path / "metrics.csv", expected_run.path / "metrics.csv"]
    assert len(table[0].read_text().splitlines()) == len(table[1].read_text().splitlines())


def stop_at(step, number=signal.SIGINT):
    def stop(snapshot):
        if snapshot.step == step:
            os.kill(os.getpid(), number)

    return stop


@pytest.fixture
def heeded():
    """Hang-ups as in a terminal, whatever whoever started the tests (nohup) ignores."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_second_ctrl_c_leaves_no_run_that_says_it_runs(tmp_path):
    def twice(snapshot):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    run = Run(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        short(mlp(), run=run, steps=9, log_every=1, callbacks=[twice])
    assert run.read_status()["state"] == "interrupted"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not short(mlp(), run=Run(tmp_path / "run"), steps=9, log_every=1).interrupted


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["ctrl-c", "terminate", "hang-up"]
)
@pytest.mark.parametrize("step", [3, 5])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, step, number, heeded):
    settings = dict(steps=9, log_every=2, checkpoint_every=4)
    expected = short(mlp(), run=Run(tmp_path / "whole"), **settings)
    before = signal.getsignal(number)
    run = Run(tmp_path / "cut")
    first = short(mlp(), run=run, sample_every=1, sample=stop_at(step, number), **settings)
    assert first.interrupted and first.step == step and signal.getsignal(number) is before
    status = run.read_status()
    assert status["state"] == "interrupted" and signal.Signals(number).name in status["message"]
    # Another initialisation: everything must come from the state.
    second = short(mlp(seed=99), run=Run(tmp_path / "cut"), **settings)
    assert not second.interrupted and second.step == 9
    assert_same_outcome(second, run, expected, Run(tmp_path / "whole"))
    assert [row["step"] for row in second.history] == [2, 4, 6, 8, 9]
    for name in ("ema", "raw"):
        loaded = [windvane.load(tmp_path / folder, weights=name) for folder in ("cut", "whole")]
        assert_same_weights(weights(loaded[0]), weights(loaded[1]))


def test_lines_written_after_the_last_state_are_written_again_once(tmp_path):
    def crash(snapshot):
        if snapshot.step == 7:
            raise OSError("disk full")

    run = Run(tmp_path / "cut")
    with pytest.raises(OSError, match="disk full"):
        short(mlp(), run=run, steps=9, log_every=1, callbacks=[crash])
    assert [row["step"] for row in lines(run)][-1] == 7 and run.latest_state().name == "step-00000004"
    assert run.read_status()["message"] == "OSError: disk full"
    resumed = short(mlp(), run=run, steps=9, log_every=1)
    whole = short(mlp(), run=Run(tmp_path / "whole"), steps=9, log_every=1)
    assert_same_outcome(resumed, run, whole, Run(tmp_path / "whole"))


def test_an_interrupt_without_a_run_is_no_finished_training():
    with pytest.raises(KeyboardInterrupt):
        short(mlp(), sample_every=1, sample=stop_at(2))


def test_a_second_ctrl_c_breaks_off(tmp_path):
    def insist(snapshot):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        short(mlp(), run=Run(tmp_path), sample_every=5, sample=insist)
    assert signal.getsignal(signal.SIGINT) is before
    assert Run(tmp_path).latest_state().name == "step-00000004"
    assert short(mlp(), run=Run(tmp_path)).step == 6


def test_an_ignored_signal_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert not short(mlp(), run=Run(tmp_path), sample_every=1, sample=stop_at(2)).interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def test_more_steps_later_equals_all_at_once(tmp_path):
    short(mlp(), run=Run(tmp_path / "grown"), steps=4)
    grown = short(mlp(), run=Run(tmp_path / "grown"), steps=10)
    whole = short(mlp(), run=Run(tmp_path / "whole"), steps=10)
    assert_same_outcome(grown, Run(tmp_path / "grown"), whole, Run(tmp_path / "whole"))


def test_dropout_layers_resume_exactly(tmp_path):
    run = Run(tmp_path / "cut")
    short(Noisy(), run=run, steps=3)
    torch.rand(17)
    resumed = short(Noisy(), run=run, steps=8)
    whole = short(Noisy(), run=Run(tmp_path / "whole"), steps=8)
    assert_same_weights(weights(resumed.raw), weights(whole.raw))


class Learning:
    """A time sampler that learns from the losses it is shown."""

    observes = True

    def __init__(self):
        self.level, self.seen = 0.5, []

    def __repr__(self):
        return "Learning()"

    def draw(self, n, generator):
        return (self.level * torch.rand(n, generator=generator, dtype=torch.float64)).clamp(min=1e-3)

    def observe(self, t, losses):
        self.seen.append((t, losses))
        self.level = 0.3 + 0.6 * float(torch.sigmoid(losses.mean()))

    def state_dict(self):
        return {"level": self.level}

    def load_state_dict(self, state):
        self.level = state["level"]


def test_a_time_sampler_with_state_resumes_and_sees_every_sample(tmp_path):
    run, whole_times, resumed_times = Run(tmp_path / "cut"), Learning(), Learning()
    whole = short(mlp(), run=Run(tmp_path / "whole"), steps=8, times=whole_times)
    short(mlp(), run=run, steps=4, times=Learning())
    resumed = short(mlp(), run=run, steps=8, times=resumed_times)
    assert_same_outcome(resumed, run, whole, Run(tmp_path / "whole"))
    assert whole_times.level == resumed_times.level != 0.5
    t, losses = whole_times.seen[-1]
    assert t.shape == losses.shape == (8,) and len(whole_times.seen) == 8
    mean = torch.stack([losses.mean() for _, losses in whole_times.seen[-2:]]).mean()
    assert float(mean) == pytest.approx(whole.history[-1]["loss"], rel=1e-6)


def test_other_settings_are_refused_by_name(tmp_path):
    short(mlp(), run=Run(tmp_path))
    with pytest.raises(ValueError, match=r"lr \(saved 0.01, now 0.5\); seed \(saved 0, now 3\)"):
        short(mlp(), run=Run(tmp_path), lr=0.5, seed=3, steps=9)
    fewer = conditions().drop(torch.arange(40) < 1)
    for changed, name in ((dict(values=data() + 1), "data"), (dict(signals=fewer), "conditions")):
        with pytest.raises(ValueError, match=f"other settings: {name} "):
            short(mlp(), run=Run(tmp_path), steps=9, **changed)
    with pytest.raises(ValueError, match="process .saved 'VPCosine .*, now 'VPCosine"):
        short(mlp(process=VPCosine(lmbda_min=-10.0)), run=Run(tmp_path), steps=9)
    with pytest.raises(ValueError, match="objective .*'v'.*'eps'"):
        short(mlp("eps"), run=Run(tmp_path), steps=9)
    with pytest.raises(ValueError, match="does not fit this network"):
        short(mlp(width=24), run=Run(tmp_path), steps=9)
    with pytest.raises(ValueError, match=r"accumulate \(saved 1, now 2\)"):  # other sums, other last bits
        short(mlp(), run=Run(tmp_path), steps=9, accumulate=2)
    # Settings that do not shape the result may change.
    assert short(mlp(), run=Run(tmp_path), steps=9, log_every=1, checkpoint_every=2).step == 9


def test_a_finished_run_does_nothing_but_mend_its_model(tmp_path):
    expected = short(mlp(), run=Run(tmp_path))
    before = (tmp_path / "metrics.jsonl").read_bytes()
    shutil.rmtree(tmp_path / "model")
    result = short(mlp(seed=99), run=Run(tmp_path))
    assert result.step == 6 and result.history == Run(tmp_path).read_metrics()
    assert_same_weights(weights(result.ema), weights(expected.ema))
    assert_same_weights(weights(windvane.load(tmp_path)), weights(expected.ema))
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


CHILD = """
import sys, torch
torch.set_num_threads(1)
from tests.training.test_resume import long
long(sys.argv[1])
"""
STEPS = 120


def long(folder, process=None):
    """A training with a checkpoint every 10 and a line of log every 4 steps."""
    return train(
        mlp("edm", process or VPCosine()),
        data(),
        conditions=conditions(),
        steps=STEPS,
        batch_size=16,
        lr=1e-2,
        log_every=4,
        checkpoint_every=10,
        run=Run(folder),
        progress=False,
    )


def kill_after_a_checkpoint(folder, delay):
    """Start the training in another process, kill it ``delay`` seconds after its first checkpoint."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not (folder / "state" / "LATEST").exists():
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    return child.wait()


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    expected = long(tmp_path / "whole")
    run = Run(tmp_path / "cut")
    codes = [kill_after_a_checkpoint(run.path, random.Random(os.getpid()).uniform(0, 0.25))]
    if run.latest_state().name != f"step-{STEPS:08d}":
        assert codes == [-signal.SIGKILL]
    killed_at = int(run.latest_state().name.removeprefix("step-"))
    result = long(run.path)
    assert result.step == STEPS >= killed_at >= 10
    assert_same_outcome(result, run, expected, Run(tmp_path / "whole"))
    assert [row["step"] for row in lines(run)] == list(range(4, STEPS + 1, 4))
    assert not [path for path in run.path.rglob("*") if "windvane-" in path.name]


def flipped(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["state.pt", "state.json"])
def test_a_damaged_newest_state_names_the_newest_good_one_and_the_way_on(tmp_path, name):
    short(mlp(), run=Run(tmp_path), steps=6, checkpoint_every=2)
    newest = Run(tmp_path).latest_state()
    flipped(newest / name)
    with pytest.raises(
        ValueError, match=f"{newest.name}/{name} is damaged: .* step-00000004 is good: remove"
    ):
        short(mlp(), run=Run(tmp_path), steps=8, checkpoint_every=2)
    shutil.rmtree(newest)
    resumed = short(mlp(), run=Run(tmp_path), steps=8, checkpoint_every=2)
    whole = short(mlp(), run=Run(tmp_path / "whole"), steps=8, checkpoint_every=2)
    assert_same_weights(weights(resumed.raw), weights(whole.raw))


def test_where_no_state_is_good_any_more_that_is_said(tmp_path):
    short(mlp(), run=Run(tmp_path), steps=4, checkpoint_every=2)
    for folder in (tmp_path / "state").glob("step-*"):
        flipped(folder / "state.pt")
    with pytest.raises(ValueError, match=r"state\.pt is damaged: .* No other state in .* is good"):
        short(mlp(), run=Run(tmp_path), steps=6)


@pytest.mark.parametrize(
    "text", [b"", b"\x00\n", b"../../elsewhere\n", b"step-00000002", b"step-99999999\n", b"."]
)
def test_a_damaged_pointer_leads_to_the_newest_state_there_is(tmp_path, text):
    short(mlp(), run=Run(tmp_path), steps=4, checkpoint_every=2)
    (tmp_path / "state" / "LATEST").write_bytes(text)
    expected = "step-00000002" if text == b"step-00000002" else "step-00000004"
    assert Run(tmp_path).latest_state().name == expected


def test_a_state_of_before_the_hashes_is_resumed(tmp_path):
    short(mlp(), run=Run(tmp_path), steps=4)
    header = Run(tmp_path).latest_state() / "state.json"
    known = json.loads(header.read_text())
    header.write_text(json.dumps({name: known[name] for name in known if name not in ("hashes", "content")}))
    assert short(mlp(), run=Run(tmp_path), steps=6).step == 6
