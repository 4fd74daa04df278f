"""Every folder that a command writes follows one rule: only what the list names is replaced."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from windvane.cli.common.folders import DEMO, SAMPLES, SEARCH, SOLVERS, STEERED, STITCHED
from windvane.file_batches import atomic_files
from windvane.folders import LIST, check_file, claimed, note_files, read_list
from windvane.metrics_log import MetricsLog
from windvane.pictures import save_png, save_pngs
from windvane.report.page import Report
from windvane.runs import RUN, Run
from windvane.search.budget import Spent
from windvane.search.result_files import save_found
from windvane.search.search_loop import Found

KINDS = [SAMPLES, STEERED, SEARCH, SOLVERS, STITCHED, DEMO, RUN]
PICTURE = Image.new("L", (2, 2))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    "name", ["20240101.png", "best.png", "grid.png", "config.yaml", "metrics.jsonl", "model_index.json"]
)
def test_a_folder_with_what_somebody_else_put_there_is_refused(tmp_path, kind, name):
    if name.endswith(".png"):
        PICTURE.save(tmp_path / name)
    else:
        (tmp_path / name).write_text("{}")
    before = (tmp_path / name).read_bytes()
    with pytest.raises(ValueError, match=f"holds {name}: no part of"), claimed(tmp_path, kind):
        raise AssertionError("the work began")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == before


def test_only_what_the_list_names_is_replaced(tmp_path):
    with claimed(tmp_path, SEARCH):
        note_files(tmp_path, SEARCH, ["search.json", "samples/0000.png"])
        (tmp_path / "search.json").write_text("{}")
        save_png(PICTURE, tmp_path / "samples" / "0000.png", {})
    (tmp_path / "notes.txt").write_text("mine")  # in nobody's way
    with claimed(tmp_path, SEARCH):
        pass
    PICTURE.save(tmp_path / "samples" / "20240101.png")
    with pytest.raises(ValueError, match="samples/20240101.png"), claimed(tmp_path, SEARCH):
        pass
    assert (tmp_path / "samples" / "20240101.png").is_file()


def test_a_foreign_file_of_a_run_is_refused_before_it_is_cut(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"mine": 1}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl"), Run(tmp_path).lock():
        pass
    assert (tmp_path / "metrics.jsonl").read_text() == '{"mine": 1}\n'


def test_folders_from_before_the_list_are_known_by_their_kind(tmp_path):
    save_png(PICTURE, tmp_path / "00000003.png", {"seed": 3})
    with claimed(tmp_path, SAMPLES):
        assert read_list(tmp_path) == (SAMPLES.name, {"00000003.png"})
    (tmp_path / LIST).unlink()
    PICTURE.save(tmp_path / "grid.png")
    with pytest.raises(ValueError, match=r"grid\.png"), claimed(tmp_path, SAMPLES):
        pass


MARKED = {
    SAMPLES.name: {"samples.json": {"settings": 1, "made": 1, "pictures": 1}},
    STEERED.name: {"report.json": {"settings": 1, "strengths": 1}},
    SEARCH.name: {"search.json": {"settings": 1, "scores": 1}},
    SOLVERS.name: {"solvers.json": {"settings": 1, "reference": 1, "points": 1}},
    STITCHED.name: {"stitch.json": {"settings": 1, "points": 1, "alone": 1}},
    DEMO.name: {"results.json": {"seed": 1, "budget": 1, "rows": 1}},
    RUN.name: {"status.json": {"state": 1, "step": 1, "steps": 1}},
}


def names_of(kind):
    """A name for every file of a kind but its mark."""
    names = {name.replace("[0-9]", "0").replace("*", "0") for name in kind.files}
    return sorted(names - set(MARKED[kind.name]) | ({"tree/tree.npz"} if kind is SEARCH else set()))


@pytest.mark.parametrize(
    ("kind", "name"),
    [pytest.param(kind, name, id=f"{kind.name}-{name}") for kind in KINDS for name in names_of(kind)],
)
def test_a_foreign_file_of_a_marked_folder_without_a_list_is_nobodys_to_replace(tmp_path, kind, name):
    for file, value in MARKED[kind.name].items():
        (tmp_path / file).write_text(json.dumps(value))
    kind.check(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    if name.endswith(".png"):
        PICTURE.save(tmp_path / name)
    else:
        (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises(ValueError, match=f"holds {re.escape(name)}: no part of"), claimed(tmp_path, kind):
        pass
    assert not (tmp_path / LIST).exists()


def test_tables_plots_and_states_of_a_folder_without_a_list_are_known_by_what_they_hold(tmp_path):
    found = Found(torch.zeros(1, 2), torch.zeros(1, 1), Spent(), ())
    save_found(found, tmp_path / "state.safetensors")
    np.savez(tmp_path / "samples.npz", images=np.zeros(2), seeds=np.zeros(2))
    MetricsLog(tmp_path / "metrics.jsonl", tmp_path / "metrics.csv").append({"step": 1, "loss": 2.0})
    figure = Figure(figsize=(1, 1), dpi=130)
    figure.savefig(tmp_path / "solvers.png", metadata={"Software": None})
    Report("Page").write(tmp_path / "report.html")
    for kind, name in [
        (SEARCH, "state.safetensors"),
        (SAMPLES, "samples.npz"),
        (RUN, "metrics.jsonl"),
        (RUN, "metrics.csv"),
        (SOLVERS, "solvers.png"),
        (STEERED, "report.html"),
    ]:
        assert kind._written_here(tmp_path, name), name


def test_a_folder_of_another_kind_is_refused(tmp_path):
    with claimed(tmp_path, SOLVERS):
        note_files(tmp_path, SOLVERS, ["solvers.csv"])
        (tmp_path / "solvers.csv").write_text("")
    with pytest.raises(ValueError, match="holds a comparison of solvers, no place for a search"):
        SEARCH.check(tmp_path)


def test_the_second_writer_is_refused_at_once_and_a_dead_ones_place_is_taken(tmp_path):
    code = f"""
import time
from windvane.cli.common.folders import SEARCH
from windvane.folders import claimed
with claimed({str(tmp_path / "out")!r}, SEARCH):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "held\n"
        begin = time.monotonic()
        with pytest.raises(ValueError, match=f"process {child.pid} "), claimed(tmp_path / "out", SEARCH):
            pass
        assert time.monotonic() - begin < 1
        os.kill(child.pid, signal.SIGKILL)
    with claimed(tmp_path / "out", SEARCH):
        pass


def test_a_failed_command_leaves_no_folder(tmp_path):
    with pytest.raises(RuntimeError), claimed(tmp_path / "deep" / "out", SAMPLES):
        note_files(tmp_path / "deep" / "out", SAMPLES, ["grid.png"])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_left_overs_of_dead_writers_are_swept(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with claimed(tmp_path, SAMPLES):
        note_files(tmp_path, SAMPLES, ["grid.png"])
        save_png(PICTURE, tmp_path / "grid.png", {})
    left = tmp_path / f".grid.{dead.pid}-0a1b2c3d.windvane-tmp.png"
    left.write_bytes(b"half")
    with claimed(tmp_path, SAMPLES):
        assert not left.exists()


def test_a_single_file_of_somebody_else_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    assert check_file(path, mark=b"ours", what="numbers") == path
    path.write_text('{"mine": 1}')
    with pytest.raises(ValueError, match="is not replaced by numbers"):
        check_file(path, mark=b"ours", what="numbers")
    path.write_text("ours")
    check_file(path, mark=b"ours", what="numbers")
    with pytest.raises(ValueError, match="ours.json cannot be written: .*metrics.json is read-only or no"):
        check_file(path / "ours.json", mark=b"ours", what="numbers")
    monkeypatch.setattr("windvane.folders.os.access", lambda place, mode: place != tmp_path)  # as for root
    with pytest.raises(ValueError, match="cannot be written"):
        check_file(tmp_path / "missing" / "ours.json", mark=b"ours", what="numbers")
    monkeypatch.undo()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="is no file but a pipe"):  # and is not waited for
        check_file(tmp_path / "pipe", mark=b"ours", what="numbers")


def test_pictures_of_a_batch_wait_for_the_disk_once_each_and_once_for_the_folder(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("windvane.files.os.fsync", lambda handle: synced.append(handle))
    save_pngs([(PICTURE, tmp_path / f"{i}.png", {"seed": i}) for i in range(20)])
    assert len(synced) == 21
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{i}.png" for i in range(20))


def test_a_batch_that_fails_leaves_what_was_there(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic_files([tmp_path / "a", tmp_path / "b"]) as (first, _):
        first.write_text("new")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "old"
