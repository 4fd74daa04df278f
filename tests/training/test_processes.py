"""Several processes see the same data and noise as one, and end with the same weights."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import windvane
from tests.training.test_program import adversaries
from tests.training.test_resume import Learning
from tests.training.tiny import assert_same_weights, mlp, short, weights
from windvane.runs import Run
from windvane.training.batches import Batches, share
from windvane.training.processes import compute_on_cpu, make_accelerator

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch(*arguments):
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_port", str(free_port()), "-m", "tests.training.worker", *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launched")
    launch(folder)
    return folder, [torch.load(folder / f"rank{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def single():
    seen, timed = [], Batches.timed

    def remember(self, step, drawn):
        batch = timed(self, step, drawn)
        seen.append(batch)
        return batch

    patch = pytest.MonkeyPatch()
    patch.setattr(Batches, "timed", remember)
    result = short(mlp(), batch_size=7, steps=12, log_every=1)
    patch.undo()
    return result, seen


def test_two_processes_equal_one(launched, single):
    _, ranks = launched
    assert [rank["processes"] for rank in ranks] == [2, 2]
    result, _ = single
    for rank in ranks:
        assert_same_weights(rank["raw"], weights(result.raw), tolerance=1e-4)
        assert_same_weights(rank["ema"], weights(result.ema), tolerance=1e-4)
    assert_same_weights(ranks[0]["raw"], ranks[1]["raw"])


def test_a_program_on_two_processes_equals_one(launched):
    result, critic = adversaries(None, 7)
    for found in launched[1]:
        raw, other, loss = found["program"]
        assert_same_weights(raw, weights(result.raw), 1e-5)
        assert_same_weights(other, weights(critic), 1e-5)
        assert loss == pytest.approx(result.history[-1]["critic"], rel=1e-4)


def test_the_log_is_of_the_global_batch(launched, single):
    _, ranks = launched
    expected = single[0].history
    for rank in ranks:
        assert [row["step"] for row in rank["history"]] == [row["step"] for row in expected]
        for row, whole in zip(rank["history"], expected):
            assert row["loss"] == pytest.approx(whole["loss"], rel=1e-4)
            assert row["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-3)
            assert row["ema_gap"] == pytest.approx(whole["ema_gap"], rel=1e-2, abs=1e-6)


def test_each_process_takes_its_own_rows_of_the_same_batch(launched, single):
    _, ranks = launched
    for number, name in enumerate(("x0", "noise", "t")):
        for rank in range(2):
            begin, end = share(7, rank, 2)
            expected = torch.cat([getattr(batch, name)[begin:end] for batch in single[1]])
            assert torch.equal(ranks[rank]["seen"][number], expected)


def test_the_run_is_written_once_and_goes_on_with_one_process(launched, single):
    folder, _ = launched
    run = Run(folder / "run")
    assert [row["step"] for row in run.read_metrics()] == list(range(1, 13))
    assert run.read_status()["state"] == "finished"
    averaged = weights(windvane.load(run.path))
    assert_same_weights(averaged, weights(single[0].ema), tolerance=1e-4)
    # The two took two parts of a batch at a time, as one process does in resuming them.
    longer = short(mlp(seed=50), batch_size=7, steps=15, accumulate=2, log_every=1, run=run)
    whole = short(mlp(), batch_size=7, steps=15, log_every=1)
    assert_same_weights(weights(longer.raw), weights(whole.raw), tolerance=2e-4)


def test_time_samplers_observe_the_whole_batch_on_every_process(launched):
    _, ranks = launched
    learning = Learning()
    result = short(mlp(), times=learning, steps=4)
    for rank in ranks:
        assert rank["level"] == pytest.approx(learning.level, rel=1e-5)
        assert_same_weights(rank["learned"], weights(result.raw), tolerance=1e-4)


def test_a_signal_to_one_process_stops_all_at_the_same_step(launched):
    folder, ranks = launched
    assert [rank["stopped_at"] for rank in ranks] == [10, 10]
    assert all(rank["interrupted"] for rank in ranks)
    assert Run(folder / "stopped").latest_state().name == "step-00000010"
    assert Run(folder / "stopped").read_status()["state"] == "interrupted"


def test_processes_that_cannot_find_each_other_are_an_error(monkeypatch):
    make_accelerator("no", [], None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert compute_on_cpu() or torch.cuda.is_available()
    with pytest.raises(ValueError, match="started 2 processes"):
        make_accelerator("no", [], None)


def test_a_launcher_that_started_only_one_process_is_reported(monkeypatch, caplog):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    make_accelerator("no", [], None)
    assert "torchrun --nproc_per_node" in caplog.text
