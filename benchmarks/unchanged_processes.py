"""The trainings that `unchanged.py` looks at on two processes; run by `accelerate launch`, it makes them."""

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from unchanged_trainings import trained_in, trainings

MADE = "made.pickle"
NAMES = ("ids", "unet, flip", "accumulated")


@cache
def _launched() -> dict[str, Any]:
    """Weights, averages and logs of the first process, by name."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
        command += [__file__, folder]
        environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
        environment |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        return pickle.loads((Path(folder) / MADE).read_bytes())  # just written


def process_cases() -> Iterator[tuple[str, Callable[[], Any]]]:
    for name in NAMES:
        for case in (name, f"{name}, resumed"):
            yield case, partial(lambda of: _launched()[of], case)


def main() -> None:
    torch.set_num_threads(1)
    folder, made = Path(sys.argv[1]), {}
    for k, name in enumerate(NAMES):
        made[name] = trained_in(folder / f"{k}", trainings()[name], None)
        made[f"{name}, resumed"] = trained_in(folder / f"{k} resumed", trainings()[name], 4)
    if int(os.environ["RANK"]) == 0:
        (folder / MADE).write_bytes(pickle.dumps(made))


if __name__ == "__main__":
    main()
