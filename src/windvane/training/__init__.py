"""Training: objective, times, average, condition dropout and one loop on Accelerate."""

from windvane.training.batch import Batch, Items
from windvane.training.corruption import Corrupted, Corruption, Noised
from windvane.training.ema import EMA
from windvane.training.loop import TrainResult, train
from windvane.training.objective import Denoising, Objective, default_objective
from windvane.training.program import Frozen, Group, Program, Update
from windvane.training.session import Callback, Snapshot
from windvane.training.times import (
    TIMES,
    LogitNormalTimes,
    LogNormalTimes,
    StreamTimes,
    TimeSampler,
    UniformTimes,
    default_times,
    times_named,
)
from windvane.training.weights import WEIGHTS, EDMWeight, MinSNR, SigmoidWeight, weight_named

__all__ = [
    "EMA",
    "TIMES",
    "WEIGHTS",
    "Batch",
    "Callback",
    "Corrupted",
    "Corruption",
    "Denoising",
    "EDMWeight",
    "Frozen",
    "Group",
    "Items",
    "LogNormalTimes",
    "LogitNormalTimes",
    "MinSNR",
    "Noised",
    "Objective",
    "Program",
    "SigmoidWeight",
    "Snapshot",
    "StreamTimes",
    "TimeSampler",
    "TrainResult",
    "UniformTimes",
    "Update",
    "default_objective",
    "default_times",
    "times_named",
    "train",
    "weight_named",
]
