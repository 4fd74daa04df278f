"""The processes of a training, by Accelerate."""

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from windvane.runs import Run
from windvane.training.session import Session
from windvane.training.stop import StopSignals

if TYPE_CHECKING:
    from accelerate import Accelerator

_log = logging.getLogger(__name__)

# Several processes must agree to stop; asking at every step would cost more than a small network's step.
_AGREE_EVERY = 10


def make_accelerator(mixed_precision: str, trackers: Sequence[Any], run: Run | None) -> "Accelerator":
    """An Accelerator for the processes that the launcher started, or for this one.

    The loop does its own autocast, so Accelerate's stays off: its precision is a setting of the whole
    process, which a library has no business changing.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    made_before = AcceleratorState._shared_state != {}
    accelerator = Accelerator(
        cpu=compute_on_cpu(),
        mixed_precision=None if made_before else "no",
        log_with=list(trackers) or None,
        project_dir=None if run is None else str(run.path),
        kwargs_handlers=[_ddp()],
    )
    if accelerator.mixed_precision not in ("no", mixed_precision):
        raise ValueError(
            f"an Accelerator with mixed_precision={accelerator.mixed_precision!r} already exists in this "
            f"process; pass the same to train(), not {mixed_precision!r}"
        )
    if accelerator.num_processes == 1:
        _check_alone()
    elif accelerator.is_main_process:
        _log.info("training on %d processes", accelerator.num_processes)
    return accelerator


def compute_on_cpu() -> bool:
    """Whether Accelerate must be told to use the CPU.

    On a machine without GPUs, or with Apple's, it takes several processes for so many single ones unless it
    is told, and each would then train and write on its own.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if torch.backends.mps.is_available():
        return several
    accelerator = getattr(torch, "accelerator", torch.cuda)
    return not accelerator.is_available()


def _check_alone() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            f"the launcher started {os.environ['WORLD_SIZE']} processes, but this program set Accelerate up "
            "for one: let it create Accelerator(cpu=True), or none"
        )
    if "MASTER_ADDR" in os.environ and "LOCAL_RANK" not in os.environ:
        _log.warning(
            "the launcher prepared several processes and started one; without GPUs use "
            "`torchrun --nproc_per_node N` or `accelerate launch --multi_gpu --num_processes N`"
        )


def _ddp() -> Any:
    from accelerate import DistributedDataParallelKwargs

    return DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)


def must_stop(session: Session, signals: StopSignals) -> bool:
    """Whether a signal reached any process; all processes get the same answer."""
    processes = session.accelerator.num_processes
    if processes == 1:
        return signals.received is not None
    if session.step % _AGREE_EVERY:
        return False
    received = torch.tensor(float(signals.received is not None), device=session.accelerator.device)
    return float(session.sum(received)) > 0
