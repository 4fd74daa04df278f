"""Training: objective, times, average, condition dropout and one loop on Accelerate."""

from windvane.training.ema import EMA
from windvane.training.loop import TrainResult, train
from windvane.training.objective import Denoising, Objective, default_objective
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
    "Callback",
    "Denoising",
    "EDMWeight",
    "LogNormalTimes",
    "LogitNormalTimes",
    "MinSNR",
    "Objective",
    "SigmoidWeight",
    "Snapshot",
    "StreamTimes",
    "TimeSampler",
    "TrainResult",
    "UniformTimes",
    "default_objective",
    "default_times",
    "times_named",
    "train",
    "weight_named",
]
