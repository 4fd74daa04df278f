import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windvane.metrics_log import MetricsLog
from windvane.runs import STATE, Run

HOLD = """
import sys, time
from windvane.runs import STATE, Run
with Run(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def hold_lock(path):
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    return child


def test_a_second_writer_is_refused_and_told_who_holds_the_run(tmp_path):
    child = hold_lock(tmp_path / "run")
    try:
        with pytest.raises(ValueError, match=f"process {child.pid} "), Run(tmp_path / "run").lock():
            pass
    finally:
        child.kill()
        child.wait()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    child = hold_lock(tmp_path / "run")
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    run = Run(tmp_path / "run")
    with run.lock():
        with pytest.raises(ValueError, match=f"process {os.getpid()} "), Run(tmp_path / "run").lock():
            pass
    with run.lock():
        pass


def test_config_and_status_round_trip(tmp_path):
    run = Run(tmp_path / "run")
    assert run.read_config() == {} and run.read_status() is None
    run.write_config({"train": {"steps": 3, "lr": 1e-3}, "a": [1, 2]})
    run.write_status("interrupted", step=2, steps=5, message="stopped")
    again = Run(tmp_path / "run", create=False)
    assert again.read_config() == {"train": {"steps": 3, "lr": 1e-3}, "a": [1, 2]}
    assert again.read_status() == {"state": "interrupted", "step": 2, "steps": 5, "message": "stopped"}


def test_bad_paths_and_configs_are_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        Run(tmp_path / "file")
    with pytest.raises(ValueError, match="no run folder"):
        Run(tmp_path / "missing", create=False)
    run = Run(tmp_path / "run")
    for text in ("- 1\n- 2\n", "a: [1, 2\n"):
        run.config.write_text(text)
        with pytest.raises(ValueError, match=r"config\.yaml"):
            run.read_config()


def test_rows_survive_and_both_files_agree(tmp_path):
    run = Run(tmp_path / "run")
    run.append_metrics({"step": 1, "loss": 0.1})
    run.append_metrics({"step": 2, "loss": float("nan"), "fd": 3.0})
    run.append_metrics({"step": 3, "fd": 2.0})
    expected = [{"step": 1, "loss": 0.1}, {"step": 2, "loss": None, "fd": 3.0}, {"step": 3, "fd": 2.0}]
    assert Run(tmp_path / "run").read_metrics() == expected
    assert (tmp_path / "run" / "metrics.csv").read_text() == "step,loss,fd\n1,0.1,\n2,,3.0\n3,,2.0\n"


def test_columns_keep_their_place_across_writers(tmp_path):
    Run(tmp_path / "run").append_metrics({"b": 1, "a": 2})
    Run(tmp_path / "run").append_metrics({"a": 3, "b": 4})
    assert (tmp_path / "run" / "metrics.csv").read_text() == "b,a\n1,2\n4,3\n"


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 4), data=st.data())
def test_a_line_torn_anywhere_costs_that_line_only(tmp_path_factory, rows, data):
    folder = tmp_path_factory.mktemp("torn")
    log = MetricsLog(folder / "m.jsonl", folder / "m.csv")
    for step in range(rows):
        log.append({"step": step, "loss": 0.5 * step})
    whole = log.jsonl.read_bytes()
    last = len(whole) - len(whole.splitlines(keepends=True)[-1])
    log.jsonl.write_bytes(whole[: data.draw(st.integers(last, len(whole) - 1))])
    again = MetricsLog(folder / "m.jsonl", folder / "m.csv")
    assert [row["step"] for row in again.read()] == list(range(rows - 1))
    again.append({"step": 99, "loss": 0.0})
    assert [row["step"] for row in again.read()] == [*range(rows - 1), 99]
    assert again.table.read_text().splitlines()[1:] == [
        f"{row['step']},{row['loss']}" for row in again.read()
    ]


def test_damage_in_the_middle_is_reported_not_skipped(tmp_path):
    run = Run(tmp_path / "run")
    for step in range(3):
        run.append_metrics({"step": step})
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_text(path.read_text().replace('{"step": 1}', '{"step"'))
    with pytest.raises(ValueError, match="line 2"):
        run.read_metrics()


def test_truncate_removes_later_rows_from_both_files(tmp_path):
    run = Run(tmp_path / "run")
    for step in (10, 20, 30):
        run.append_metrics({"step": step, "loss": step / 10})
    run.metrics.truncate(20)
    run.append_metrics({"step": 25, "loss": 0.0})
    assert [row["step"] for row in run.read_metrics()] == [10, 20, 25]
    assert (tmp_path / "run" / "metrics.csv").read_text() == "step,loss\n10,1.0\n20,2.0\n25,0.0\n"


def write_state(folder, text):
    (folder / "state.pt").write_text(text)
    (folder / "state.json").write_text('{"format": 1, "step": 0, "settings": {}}')


def test_the_last_two_states_are_kept_and_the_newest_is_found(tmp_path):
    run = Run(tmp_path / "run")
    assert run.latest_state() is None
    for step in (5, 10, 15):
        with run.save_state(step) as folder:
            write_state(folder, str(step))
    assert sorted(path.name for path in run.state.glob("step-*")) == ["step-00000010", "step-00000015"]
    assert (run.latest_state() / "state.pt").read_text() == "15"


def test_what_is_no_state_is_neither_cleared_away_nor_replaced(tmp_path):
    run = Run(tmp_path / "run")
    for name in ("step-00000001", "step-00000010", "step-figures"):
        (run.state / name).mkdir(parents=True)
        (run.state / name / "mine.txt").write_text("mine")
    for step in (2, 3, 4):
        with run.save_state(step) as folder:
            write_state(folder, str(step))
    with pytest.raises(ValueError, match="mine.txt"), run.save_state(10) as folder:
        write_state(folder, "10")
    left = {path.name: (path / "mine.txt").exists() for path in run.state.glob("step-*")}
    assert left == {
        "step-00000001": True, "step-00000003": False, "step-00000004": False, "step-00000010": True,
        "step-figures": True,
    }  # fmt: skip


def test_a_failed_save_leaves_the_last_good_state(tmp_path):
    run = Run(tmp_path / "run")
    with run.save_state(5) as folder:
        write_state(folder, "5")
    with pytest.raises(OSError), run.save_state(10) as folder:
        (folder / "state.pt").write_text("half")
        raise OSError("disk full")
    assert run.latest_state().name == "step-00000005"
    assert sorted(os.listdir(run.state)) == ["LATEST", "step-00000005"]


SAVE = """
import sys, itertools
from windvane.runs import STATE, Run
run = Run(sys.argv[1])
with run.lock():
    for step in itertools.count(1):
        with run.save_state(step) as folder:
            (folder / "state.pt").write_text(str(step) * 1000)
            (folder / "state.json").write_text('{"format": 1, "step": 0, "settings": {}}')
        if step == 5:
            print("saving", flush=True)
"""


@pytest.mark.parametrize("delay", [0.003, 0.021, 0.047])
def test_killed_while_saving_a_whole_state_remains(tmp_path, delay):
    child = subprocess.Popen([sys.executable, "-c", SAVE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "saving\n"
    time.sleep(delay)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    run = Run(tmp_path)
    with run.lock():
        folder = run.latest_state()
        step = int(folder.name.removeprefix("step-"))
        assert step >= 5
        assert (folder / "state.pt").read_text() == str(step) * 1000
        assert STATE.owns(folder)
        assert not [name for name in os.listdir(run.state) if "windvane-tmp" in name]


def test_status_is_plain_json(tmp_path):
    run = Run(tmp_path)
    run.write_status("finished", step=5, steps=5)
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "finished"
