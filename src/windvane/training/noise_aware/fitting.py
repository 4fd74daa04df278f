"""The short training loop of noise-aware guides: batches, schedule, checks and progress, once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from windvane.conditions import Condition
from windvane.process import Process
from windvane.randomness import scoped_seed
from windvane.training.ahead import BatchesAhead
from windvane.training.batches import Batch, Batches, TensorData, TrainingData
from windvane.training.checks import check_numbers, check_precision, check_rates
from windvane.training.descent import descend
from windvane.training.times import TimeSampler, default_times

DECAYS = ("linear", "constant")


@dataclass(frozen=True)
class Fit:
    """How a guide is trained: AdamW on ``steps`` batches of clean rows, noise and times.

    Rows, noise, times and mirroring of a step depend on ``seed`` and the step alone, and the same seed gives
    the same weights on the same machine; global generators are left as they were. One process.

    Args:
        lr, weight_decay: AdamW's; ``decay`` lets the rate fall to 0 ("linear") or not ("constant").
        times: None is the process's default (uniform, or EDM's log-normal).
        flip: mirror images at random.
    """

    steps: int
    batch_size: int
    lr: float
    weight_decay: float
    decay: str = "constant"
    times: TimeSampler | None = None
    flip: bool = False
    seed: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        check_numbers(steps=self.steps, batch_size=self.batch_size)
        check_rates(lr=self.lr, weight_decay=self.weight_decay, betas=(0.9, 0.999), warmup=0, clip_norm=None)
        if self.decay not in DECAYS:
            raise ValueError(f"a decay is one of {', '.join(DECAYS)}, got {self.decay!r}")

    def batches(self, data: TrainingData | Tensor, process: Process, labels: Tensor | None = None) -> Batches:
        """The batches, with ``labels`` ``(n,)`` as their condition."""
        return Batches(
            TensorData(data) if isinstance(data, Tensor) else data,
            None if labels is None else Condition.vector(labels),
            batch_size=self.batch_size, seed=self.seed,
            times=default_times(process) if self.times is None else self.times,
            dropout=0.0, flip=self.flip, law=process.law,
        )  # fmt: skip

    def run(
        self,
        module: nn.Module,
        process: Process,
        batches: Batches,
        loss: Callable[[Batch, Tensor], Tensor],
        *,
        name: str,
    ) -> list[float]:
        """Minimise the mean of ``loss(batch, x_t) -> (B,)`` over the module's trainable parameters.

        The module is left in evaluation mode. Returns the loss of every step.
        """
        parameters = [p for p in module.parameters() if p.requires_grad]
        if not parameters:
            raise ValueError(f"{name}: no parameter of the module is trainable")
        check_precision(
            ((n, p) for n, p in module.named_parameters() if p.requires_grad), f"{name}: the module"
        )
        device, ahead = parameters[0].device, BatchesAhead(batches, self.steps)

        def of_step(step: int) -> Tensor:
            batch = ahead.load(step).to(device)
            return loss(batch, process.perturb(batch.x0, batch.t, batch.noise)).mean()

        falling = (lambda step: 1 - step / self.steps) if self.decay == "linear" else None
        module.train()
        with ahead, scoped_seed(self.seed):
            losses = descend(
                of_step, parameters, steps=self.steps, lr=self.lr, rate=falling,
                weight_decay=self.weight_decay, name=name, progress=self.progress,
            )  # fmt: skip
        module.eval()
        return losses


def labels_of(batch: Batch) -> Tensor:
    """The labels ``(B,)`` that :meth:`Fit.batches` was given."""
    if batch.cond is None:
        raise ValueError("these batches have no labels")
    return batch.cond.signals["vector"]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within the block the module is in evaluation mode and gradients are off; its modes come back after."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode
