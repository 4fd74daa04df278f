"""How many processes work together, and which of them this one is.

`accelerate launch` and `torchrun` say so in the environment. A single process never loads Accelerate.
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from windvane.cli.common.errors import say

# A process may wait long for another one's last batch or for an annotation that only the first one makes.
_PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class Processes:
    """This process's `rank` among `count`; `device` is where it computes."""

    rank: int
    count: int
    device: str
    _state: Any = None

    @property
    def first(self) -> bool:
        """Whether this process is the one that prints and writes what there is once."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until every process is here."""
        if self._state is not None:
            self._state.wait_for_everyone()


def several() -> bool:
    """Whether a launcher has started more than one process; needs no torch."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def processes() -> Processes:
    """Join the other processes if there are any."""
    if not several():
        if "MASTER_ADDR" in os.environ and "RANK" not in os.environ:
            say(
                "the launcher started one process; without GPUs use torchrun --nproc_per_node N, or "
                "accelerate launch --multi_gpu --num_processes N"
            )
        return Processes(0, 1, _device())
    from accelerate import PartialState

    from windvane.training.processes import compute_on_cpu

    state = PartialState(cpu=compute_on_cpu(), timeout=_PATIENCE)
    return Processes(state.process_index, state.num_processes, str(state.device), state)


def sole_device(command: str) -> str:
    """The device of a command that runs in one process.

    Raises:
        ValueError: a launcher started several, which would all do the same.
    """
    group = processes()
    if group.count > 1:
        raise ValueError(f"{command} runs in one process, not in {group.count}; start it without a launcher")
    return group.device


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
