"""Every command that writes, on a disk without room: one line that says where, exit code 2."""

import os
import subprocess

import pytest
from PIL import Image

resource = pytest.importorskip("resource")

SMALL = ("--set", "model.type=mlp", "--set", "model.width=16", "--set", "train.steps=1", "--batch-size", "4")


def picture(model):
    path = model.parent / "measured.png"
    if not path.exists():
        Image.new("L", (8, 8)).save(path)
    return path


COMMANDS = {
    "train": lambda model, out: ("train", "digits", "--out", out, *SMALL),
    "annotate": lambda model, out: ("annotate", "digits", "--features", "pixels", "--k", "3", "--out", out),
    "sample": lambda model, out: ("sample", model, "--n", "1", "--steps", "2", "--out", out),
    "search": lambda model, out: (
        *("search", model, "--method", "best-of", "--reward", "brightness", "--budget", "8", "--n", "1"),
        *("--steps", "2", "--out", out),
    ),
    "compare-solvers": lambda model, out: ("compare-solvers", model, "--out", out),
    "steer": lambda model, out: (
        *("steer", model, "--measure", f"superres=2:{picture(model)}", "--n", "1", "--steps", "2"),
        *("--out", out),
    ),
    "stitch": lambda model, out: (
        *("stitch", model, model, "--reference", "digits", "--features", "pca:4", "--n", "12"),
        *("--steps", "2", "--parts", "2", "--out", out),
    ),
    "evaluate": lambda model, out: (
        *("evaluate", model, "--reference", "digits", "--features", "pca:4", "--n", "12", "--metric", "kid"),
        *("--set", "evaluate.bootstrap=20", "--set", "evaluate.allow_few=true", "--set", "sample.steps=2"),
        *("--out", f"{out}.json"),
    ),
    "report": lambda model, out: ("report", model, "--no-samples", "--out", f"{out}.html"),
    "demo": lambda model, out: ("demo", "--quick", "--out", out),
}


def one_line(result, place):
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("windvane: error: ")]
    assert len(lines) == 1 and str(place) in lines[0], result.stderr
    assert "defect" not in result.output and "Traceback" not in result.output
    return lines[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_quota_of_file_sizes_is_one_line(windvane, unconditional, tmp_path, command):
    out = tmp_path / "out"
    words = COMMANDS[command](unconditional, out)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30, before[1]))
    try:
        result = windvane(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    # An annotation writes features into the cache first, which may be told of instead.
    cache = os.environ["WINDVANE_CACHE"]
    assert "quota" in one_line(result, cache if cache in result.stderr else out)


@pytest.fixture
def full(tmp_path):
    """A disk of 64 KiB that is full to the last block; skipped where nothing may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("this user may not mount a disk; the quota of file sizes is tested instead")
    try:
        with pytest.raises(OSError), (place / "filler").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        yield place
    finally:
        os.sync()
        subprocess.run(["umount", str(place)], check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_one_line(windvane, unconditional, full, command):
    result = windvane(*COMMANDS[command](unconditional, full / "out"))
    assert "the disk is full" in one_line(result, full)


def test_too_many_pictures_are_too_little_memory(windvane, unconditional, tmp_path):
    result = windvane("sample", unconditional, n=10**15, out=tmp_path / "out")
    assert "too little memory" in one_line(result, "--n")
