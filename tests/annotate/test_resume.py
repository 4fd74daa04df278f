"""Annotation stopped by kill -9 or shared by processes: nothing is done twice, and the file is the same."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.annotate.resume_worker import BATCH, N

ROOT = Path(__file__).parents[2]
SHARD = 1024
SHARDS = -(-N // SHARD)


def environment(**more):
    left_out = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    kept = {key: value for key, value in os.environ.items() if key not in left_out}
    return {**kept, "OMP_NUM_THREADS": "1", "WINDVANE_PROGRESS": "0", **more}


def ranks(count):
    """What torchrun tells each of ``count`` processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count)}
    return [{**place, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def start(module, *arguments, **more):
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(*processes):
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said[-3000:]


def worker(folder, *, pause=0.0, log="log", **more):
    words = folder / "out", folder / "cache", folder / log, pause
    return start("tests.annotate.resume_worker", *words, **more)


def kill_when(processes, there):
    """kill -9 to all of them as soon as ``there()``."""
    end = time.monotonic() + 100
    while not there():
        assert time.monotonic() < end and all(p.poll() is None for p in processes), (
            "ended before it was killed"
        )
        time.sleep(0.002)
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    for process in processes:
        assert process.wait(timeout=30) == -signal.SIGKILL
        process.stdout.close()
        process.stderr.close()


def shards(folder):
    return {path.name: path.stat() for path in folder.glob("cache/features-*/shard-*.safetensors")}


def same(before, after):
    """Files of ``before`` that are still the very same files."""
    return all(
        (after[name].st_ino, after[name].st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns)
        for name, stat in before.items()
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def counted(log):
    lines = log.read_text().splitlines()
    return lines.count("fit"), sum(int(line.split()[1]) for line in lines if line.startswith("call"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The annotation of a run that nobody stops."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(worker(folder))
    assert counted(folder / "log") == (1, N) and len(shards(folder)) == SHARDS
    return contents(folder / "out")


def test_a_killed_run_goes_on_where_it_was_and_ends_in_the_same_file(undisturbed, tmp_path):
    kill_when([worker(tmp_path, pause=0.02)], lambda: len(shards(tmp_path)) >= 6)
    done = shards(tmp_path)
    assert 6 <= len(done) < SHARDS and not (tmp_path / "out").exists()
    learnt = {path: path.stat().st_mtime_ns for path in tmp_path.glob("cache/extractor-*/*")}
    assert len(learnt) == 2
    fits, seen = counted(tmp_path / "log")
    # What was lost is the shard that was being made, at most.
    assert fits == 1 and 0 <= seen - len(done) * SHARD <= SHARD + BATCH
    finish(worker(tmp_path, log="again"))
    assert counted(tmp_path / "again") == (0, N - len(done) * SHARD)
    after = shards(tmp_path)
    assert len(after) == SHARDS and same(done, after)
    assert all(path.stat().st_mtime_ns == when for path, when in learnt.items())
    assert not list(tmp_path.glob("cache/features-*/.*"))
    assert contents(tmp_path / "out") == undisturbed


def test_two_killed_processes_are_continued_by_one(undisturbed, tmp_path):
    both = [worker(tmp_path, pause=0.02, log=f"log{i}", **place) for i, place in enumerate(ranks(2))]

    def begun_by_both():
        return {int(name[6:11]) % 2 for name in shards(tmp_path)} == {0, 1}

    kill_when(both, begun_by_both)
    done = shards(tmp_path)
    assert 2 <= len(done) < SHARDS
    assert [counted(tmp_path / f"log{i}")[0] for i in range(2)] == [1, 0]
    finish(worker(tmp_path, log="again"))
    assert counted(tmp_path / "again") == (0, N - len(done) * SHARD)
    assert same(done, shards(tmp_path))
    assert contents(tmp_path / "out") == undisturbed


def test_the_command_gives_the_same_files_on_two_processes(tmp_path):
    numbers = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", numbers.integers(0, 256, (2500, 8, 8), dtype=np.uint8))
    words = ["annotate", tmp_path / "images.npy", "--features", "selfsup:3", "--k", "4"]
    words += ["--set", "annotate.stability=2", "--out"]
    cache = {"WINDVANE_CACHE": str(tmp_path / "alone")}
    finish(start("windvane", *words, tmp_path / "one", **cache))
    shared = {"WINDVANE_CACHE": str(tmp_path / "shared")}
    finish(*(start("windvane", *words, tmp_path / "two", **shared, **place) for place in ranks(2)))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    kept = [
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("annotate/features-*/shard-*")}
        for name in ("alone", "shared")
    ]
    assert len(kept[0]) == 3 and kept[0] == kept[1]
