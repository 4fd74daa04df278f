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
from windvane.pictures import read_pixels

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
    """All files by their place, but for the folders in the command that pages and pictures name."""
    places = [str(folder).encode(), str(folder.parent).encode()]
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found[str(path.relative_to(folder))] = content = path.read_bytes()
        if path.suffix == ".png":
            found[str(path.relative_to(folder))] = read_pixels(path).tobytes()
        elif path.suffix == ".html":
            found[str(path.relative_to(folder))] = content.replace(places[0], b"").replace(places[1], b"")
    return found


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
    finish(start("windvane", *words, tmp_path / "first" / "out", **cache))
    shared = {"WINDVANE_CACHE": str(tmp_path / "shared")}
    finish(*(start("windvane", *words, tmp_path / "second" / "out", **shared, **place) for place in ranks(2)))
    assert contents(tmp_path / "first" / "out") == contents(tmp_path / "second" / "out")
    kept = [
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("annotate/features-*/shard-*")}
        for name in ("alone", "shared")
    ]
    assert len(kept[0]) == 3 and kept[0] == kept[1]


#: Enough for a few shards; what is tested above on 20,000 images need not be so again.
FEW = 5000
FEW_SHARDS = -(-FEW // SHARD)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Bars on noise, as one file."""
    numbers = np.random.default_rng(0)
    store = numbers.integers(0, 90, (FEW, 8, 8), dtype=np.uint8)
    store[np.arange(FEW), numbers.integers(0, 6, FEW), 2:5] += 150
    path = tmp_path_factory.mktemp("pictures") / "images.npy"
    np.save(path, store)
    return path


def regions(folder, pictures, kind, *, pause=0.0, log="log", **place):
    """The command that finds boxes or masks, with a cache of its own in the folder."""
    words = ["annotate", pictures, *kind, "--dense", "restoration:2", "--out", folder / "out"]
    words += ["--features", "pixels", "--k", "3", "--set", "data.holdout=0", "--set", "annotate.stability=0"]
    cache = {"WINDVANE_CACHE": str(folder / "kept")}
    return start("tests.annotate.region_worker", folder / log, pause, *words, **cache, **place)


def region_shards(folder):
    found = folder.glob("kept/annotate/features-*/shard-*.safetensors")
    return {f"{path.parent.name}/{path.name}": path.stat() for path in found}


KINDS = {"boxes": ["--boxes"], "masks": ["--masks", "3"]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_search_for_boxes_or_masks_goes_on_where_it_was(kind, pictures, tmp_path):
    """Masks are killed after their centres were found, in the middle of the pass over the images."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    finish(regions(whole, pictures, KINDS[kind]))
    # Masks look at all images twice: vectors for the centres, then an id for each pixel.
    before = 0 if kind == "boxes" else FEW_SHARDS
    passes = 1 if kind == "boxes" else 2
    assert counted(whole / "log") == (1, passes * FEW)

    kill_when(
        [regions(killed, pictures, KINDS[kind], pause=0.02)],
        lambda: len(region_shards(killed)) >= before + 2,
    )
    done = region_shards(killed)
    assert before + 2 <= len(done) < before + FEW_SHARDS and not (killed / "out").exists()
    assert len(list(killed.glob("kept/annotate/segmenter-*"))) == passes - 1
    finish(regions(killed, pictures, KINDS[kind], log="again"))
    assert counted(killed / "again") == (0, FEW - (len(done) - before) * SHARD)
    after = region_shards(killed)
    assert same(done, after)
    assert contents(killed / "out") == contents(whole / "out")
    # A third time nothing is looked at any more.
    finish(regions(killed, pictures, KINDS[kind], log="third"))
    assert counted(killed / "third") == (0, 0)


def test_masks_are_the_same_on_two_processes(pictures, tmp_path):
    words = ["--masks", "2", "--method", "stego", "--set", "annotate.steps=2", "--set", "data.limit=2100"]
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for folder in (alone, shared):
        folder.mkdir()
    finish(regions(alone, pictures, words))
    both = [regions(shared, pictures, words, log=f"log{i}", **place) for i, place in enumerate(ranks(2))]
    finish(*both)
    assert contents(shared / "out") == contents(alone / "out")
    looks = [counted(shared / f"log{i}") for i in range(2)]
    # One learns; each looks at shards of its own, and together at every image as often as one alone.
    assert [fits for fits, _ in looks] == [1, 0] and all(seen > 0 for _, seen in looks)
    assert sum(seen for _, seen in looks) == counted(alone / "log")[1]
