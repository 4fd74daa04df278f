"""What surrounds the steps of a training: the log, the checkpoints, the callbacks, the status."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from windvane.checkpoint import MODEL, save_model
from windvane.checkpoint.save import check_model
from windvane.denoiser import Denoiser, NetworkDenoiser
from windvane.runs import Run
from windvane.training.ahead import BatchesAhead
from windvane.training.batches import Batches, share
from windvane.training.meter import Meter
from windvane.training.state import load_state, save_state, training_settings
from windvane.training.step import Stepper

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Snapshot:
    """The training as a callback sees it: both denoisers in evaluation mode, the newest line of the log."""

    step: int
    steps: int
    ema: Denoiser
    raw: Denoiser
    run: Run | None
    metrics: dict[str, Any]


Callback = Callable[[Snapshot], None]


class Session:
    """One call of ``train``: counts, logs, saves; only the main process writes."""

    def __init__(
        self,
        stepper: Stepper,
        batches: Batches,
        accelerator: "Accelerator",
        *,
        steps: int,
        run: Run | None,
        extra: Mapping[str, Any] | None,
    ) -> None:
        self.stepper, self.batches, self.accelerator = stepper, batches, accelerator
        self.steps, self.run, self.extra = steps, run, extra
        self.settings = training_settings(stepper, batches, steps=steps, hashed=run is not None)
        self.main = accelerator.is_main_process
        self.meter = Meter(stepper.device)
        self.step = 0
        self.saved: int | None = None
        self.history: list[dict[str, Any]] = []
        self._begin, self._images = time.perf_counter(), 0
        self._ahead: BatchesAhead | None = None

    def open(self, stack: ExitStack) -> None:
        """Take the run's lock until ``stack`` closes, and continue from its newest state if there is one."""
        if self.run is None:
            return
        if isinstance(self.stepper.denoiser, NetworkDenoiser):
            # Whether the model can be saved must not turn out at the first checkpoint, hours later.
            check_model(self.stepper.denoiser)
            MODEL.check(self.run.model)
        if self.main:
            stack.enter_context(self.run.lock())
        self.accelerator.wait_for_everyone()
        folder = self.run.latest_state()
        if folder is not None:
            state = load_state(folder, self.settings)
            self.stepper.load_state_dict(state["stepper"])
            self.batches.times.load_state_dict(state["times"])
            self.meter.load_state_dict(state["meter"], main=self.main)
            self.step = self.saved = int(state["step"])
        if self.step >= self.steps and self.main:
            # Killed between the last state and the model folder.
            self.save_model()
        if self.main:
            if self.run.when_opened is not None:
                self.run.when_opened()
            self.run.metrics.truncate(self.step)
            self.status("running")
        self.accelerator.wait_for_everyone()
        self.history = self.run.read_metrics()

    def read_ahead(self, stack: ExitStack) -> None:
        """Draw the batches ahead of their steps until ``stack`` closes."""
        self._ahead = stack.enter_context(BatchesAhead(self.batches, self.steps))

    def end_after(self, steps: int) -> None:
        """Let the training have ``steps`` steps, or those that are done, if these are more."""
        self.steps = max(steps, self.step)
        if self._ahead is not None:
            self._ahead.end = self.steps

    def one_step(self) -> None:
        """Advance by one step."""
        batch, losses, norm = self.stepper.backward(self.step, self.batches, self._ahead)
        levels = self.stepper.denoiser.process.log_snr(batch.t)
        self.meter.add(self.step, losses, levels if levels.ndim == 1 else levels.mean(dim=1), norm)
        if self.stepper.device.type == "cpu" or self.step % 50 == 0:
            self.check()
        if self.batches.times.observes:
            self._observe(batch.t, losses)
        others = self.stepper.update(self.step, self.steps, batch, self.batches)
        for name, made in others.items():
            self.meter.beside(self.step, name, *made)
        self.step += 1
        self._images += self.batches.batch_size

    def sum(self, values: Tensor) -> Tensor:
        """``values`` summed over all processes."""
        if self.accelerator.num_processes == 1:
            return values
        return self.accelerator.reduce(values, reduction="sum")

    def _observe(self, t: Tensor, losses: Tensor) -> None:
        size, accelerator = self.batches.batch_size, self.accelerator
        rows = slice(*share(size, accelerator.process_index, accelerator.num_processes))
        columns = t if t.ndim > 1 else t[:, None]
        whole = torch.zeros(size, columns.shape[1] + 1, dtype=self.meter.dtype, device=losses.device)
        whole[rows] = torch.cat([columns.to(whole), losses.to(whole)[:, None]], dim=1)
        whole = self.sum(whole).cpu()
        self.batches.times.observe(whole[:, :-1].reshape(size, *t.shape[1:]), whole[:, -1])

    def check(self) -> None:
        """Raise FloatingPointError if a loss or gradient was not finite; what is on disk stays good."""
        bad = self.meter.bad_step()
        if bad is None:
            return
        kept = "nothing was saved before it"
        if self.saved is not None and self.run is not None:
            kept = f"the state after step {self.saved} in {self.run.state} is good"
        raise FloatingPointError(
            f"the loss or its gradient is not finite at step {bad} (learning rate "
            f"{self.stepper.main.rate(bad, self.steps):g}); {kept}. Lower lr or clip_norm, lengthen warmup, "
            "or look for non-finite values in the data"
        )

    def log(self) -> None:
        """Write one line of health to the run, the trackers and the history."""
        self.check()
        if self.meter.steps == 0:
            return
        row: dict[str, Any] = {"step": self.step, "images": self.step * self.batches.batch_size}
        row |= self.meter.report(self.sum)
        row["ema_gap"] = float(self.stepper.ema.gap())
        row["lr"] = self.stepper.main.rate(self.step - 1, self.steps)
        row["images_per_second"] = round(self._images / max(time.perf_counter() - self._begin, 1e-9), 1)
        self._begin, self._images = time.perf_counter(), 0
        self.history.append(row)
        if self.main and self.run is not None:
            self.run.append_metrics(row)
        self.accelerator.log({k: v for k, v in row.items() if math.isfinite(v)}, step=self.step)

    def save(self) -> None:
        """Write the training state, then the model folder."""
        self.check()
        if self.run is None or self.saved == self.step:
            return
        begin = time.perf_counter()
        meter = self.meter.state_dict(self.sum)
        if self.main:
            state = {
                "stepper": self.stepper.state_dict(),
                "times": self.batches.times.state_dict(),
                "meter": meter,
            }
            save_state(self.run, self.step, state, self.settings)
            self.save_model()
        self.saved = self.step
        self._begin += time.perf_counter() - begin

    def save_model(self) -> None:
        """Write ``model/`` for ``windvane.load``; denoisers that are no network's have none."""
        raw, averaged = self.stepper.denoiser, self.stepper.ema.denoiser
        if self.run is None or not isinstance(raw, NetworkDenoiser):
            return
        assert isinstance(averaged, NetworkDenoiser)
        weights = {"raw": raw.network.state_dict(), "ema": averaged.network.state_dict()}
        save_model(self.run.model, raw, step=self.step, extra=self.extra, **weights)

    def call(self, callbacks: Sequence[Callback]) -> None:
        """Show the training to ``callbacks`` on the main process."""
        if not (self.main and callbacks):
            return
        self.check()
        begin = time.perf_counter()
        raw = self.stepper.denoiser.eval()
        last = self.history[-1] if self.history else {}
        seen = Snapshot(self.step, self.steps, self.stepper.ema.denoiser, raw, self.run, last)
        try:
            for callback in callbacks:
                callback(seen)
        finally:
            raw.train()
        self._begin += time.perf_counter() - begin

    def status(self, state: str, message: str = "") -> None:
        """Leave a note in the run folder."""
        if self.main and self.run is not None:
            steps = max(self.step, self.steps)  # a run that goes on to fewer steps has more of them already
            self.run.write_status(state, step=self.step, steps=steps, message=message)
