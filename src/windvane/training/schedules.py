"""The learning rate over a training: a linear warm-up, then constant, a cosine or a line down to zero."""

import math

#: What follows the warm-up.
SCHEDULES = ("constant", "cosine", "linear")


def learning_rate(step: int, lr: float, warmup: int, schedule: str = "constant", steps: int = 0) -> float:
    """The rate of ``step`` (from 0): lr (step + 1) / warmup at first, and then lr g(u).

    u = (step + 1 - warmup) / (steps + 1 - warmup) runs from 0 after the warm-up to 1 just after the last
    step; g = 1 ("constant"), (1 + cos(pi u)) / 2 ("cosine") or 1 - u ("linear").

    Args:
        steps: of the training in all, which "constant" does not need.
    """
    if step + 1 < warmup:
        return lr * (step + 1) / warmup
    if schedule == "constant":
        return lr
    u = min(1.0, (step + 1 - max(warmup, 1)) / max(1, steps + 1 - max(warmup, 1)))
    return lr * (0.5 * (1 + math.cos(math.pi * u)) if schedule == "cosine" else 1 - u)


def check_schedule(schedule: str) -> str:
    """Refuse an unknown schedule."""
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown learning-rate schedule {schedule!r}; known: {', '.join(SCHEDULES)}")
    return schedule
