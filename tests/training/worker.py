"""Run by several processes at once: trains and stores what each of them saw. Argument: a folder."""

import os
import signal
import sys
from pathlib import Path

import torch
from accelerate import PartialState

from tests.training.test_program import adversaries
from tests.training.test_resume import Learning
from tests.training.tiny import mlp, short, weights
from windvane.runs import Run
from windvane.training.batches import Batches

folder = Path(sys.argv[1])
torch.set_num_threads(1)
rank = int(os.environ["RANK"])
seen, timed = [], Batches.timed


def remember(self, step, drawn):
    batch = timed(self, step, drawn)
    seen.append((batch.x0, batch.noise, batch.t, batch.cond.present["vector"]))
    return batch


Batches.timed = remember


def interrupt(snapshot):
    if snapshot.step == 3:
        os.kill(os.getpid(), signal.SIGTERM)


# Each process starts from other weights: training must begin with those of the first.
first = short(mlp(seed=3 + rank), batch_size=7, steps=12, accumulate=2, run=Run(folder / "run"), log_every=1)
learning = Learning()
second = short(mlp(), times=learning, steps=4)
program, critic = adversaries(folder / "program", 7)
third = short(mlp(), steps=25, run=Run(folder / "stopped"), sample_every=3, sample=interrupt)
torch.save(
    {
        "processes": PartialState().num_processes,
        "raw": weights(first.raw),
        "ema": weights(first.ema),
        "history": first.history,
        "seen": [torch.cat(parts) for parts in zip(*seen[:12])],
        "level": learning.level,
        "learned": weights(second.raw),
        "program": (weights(program.raw), weights(critic), program.history[-1]["critic"]),
        "stopped_at": third.step,
        "interrupted": third.interrupted,
    },
    folder / f"rank{rank}.pt",
)
