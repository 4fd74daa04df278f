"""A command that is asked to end, or left by its terminal, says so and leaves nothing half-written."""

import os
import signal
import subprocess
import sys

import pytest

COMMANDS = {
    "sample": ["sample", "MODEL", "--n", "64", "--steps", "90000"],
    "annotate": ["annotate", "digits", "--features", "selfsup:90000", "--k", "5"],
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["terminate", "hang-up"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_its_line(command, number, model, tmp_path):
    out = tmp_path / "out"
    words = [str(model) if word == "MODEL" else word for word in COMMANDS[command]]
    environment = {**os.environ, "WINDVANE_PROGRESS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "windvane", *words, "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # Whoever started the tests may ignore it (nohup), and an ignored signal stays so in a child.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as child:
        shown = ""
        while " left" not in shown:  # a line of progress: the work has begun
            shown += child.stderr.read(1) or pytest.fail(f"ended too early: {shown}")
        child.send_signal(number)
        _, told = child.communicate(timeout=60)
    assert child.returncode == 130, told
    assert told.strip().splitlines()[-1].startswith("windvane: interrupted"), told
    assert [path for path in out.rglob("*") if path.is_file()] == []
