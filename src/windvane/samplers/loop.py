"""The sampling loop: the one place for progress, callbacks, recording, counting and micro-batches."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from windvane.arguments import flag, whole
from windvane.compiled import compile_networks
from windvane.conditions import Condition
from windvane.denoiser import Denoiser, as_denoiser
from windvane.evaluations import count_evaluations
from windvane.progress import track
from windvane.randomness import STREAM_PRIOR
from windvane.samplers.ancestral import DDIM
from windvane.samplers.base import BoundDenoiser, Sampler
from windvane.samplers.names import as_sampler
from windvane.samplers.plan import (
    Grid,
    Start,
    as_condition,
    as_start,
    check_callback,
    check_dtype,
    resolve_cond,
    resolve_device,
    resolve_seeds,
    resolve_shape,
    resolve_start,
    resolve_times,
)
from windvane.samplers.run import Callback, Run, Trajectory


@dataclass(frozen=True)
class Samples:
    """Samples ``x`` ``(n, *)`` with the seeds and times that made them and what they cost.

    Args:
        calls: network calls, over all micro-batches.
        rows_per_sample: network evaluations per sample (guidance with two rows per call counts 2).
    """

    x: Tensor
    seeds: Tensor
    times: Tensor
    calls: int
    rows_per_sample: float
    trajectory: Trajectory | None = None

    def decoded(self, decode: Callable[[Tensor], Tensor], *, batch_size: int | None = None) -> "Samples":
        """The same samples with x as pictures, ``batch_size`` at a time; the trajectory stays as it is.

        Args:
            decode: ``(B, *)`` to pictures, such as the ``decode`` of a latent pipeline's denoiser.
        """
        with torch.set_grad_enabled(self.x.requires_grad):
            parts = [decode(part) for part in self.x.split(batch_size or len(self.x))]
        return replace(self, x=torch.cat(parts))


def sample(
    denoiser: Any,
    *,
    seeds: int | Sequence[int] | Tensor,
    n: int | None = None,
    cond: Condition | Tensor | None = None,
    sampler: Sampler | str | type = DDIM(),  # noqa: B008 (frozen)
    steps: int = 50,
    grid: Grid | Tensor | str | None = None,
    start: Start | None = None,
    shape: Sequence[int] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    batch_size: int | None = None,
    grad: bool = False,
    progress: bool = True,
    record: bool = False,
    before_step: Callback | None = None,
    after_step: Callback | None = None,
    clip: float | tuple[float, float] | None = None,
    check_finite: bool = True,
    compile: bool = False,
) -> Samples:
    """Draw samples. A sample depends on its own seed and condition, not on its neighbours.

    Args:
        denoiser: ``(x_t, t, cond) -> x0`` with a ``process``; a guided denoiser is one too. If it is a
            module it is put in evaluation mode meanwhile.
        seeds: an int S with ``n`` means S, ..., S + n - 1; or one seed per sample.
        cond: ``n`` rows, or one row for all; a tensor of ids ``(n,)`` or vectors ``(n, K)`` stands for a
            condition of them.
        sampler: or its name, such as ``"dpm++2m"``.
        grid: times ``(steps + 1,)``, a function (process, steps) -> times or the name of a
            registered one, or None for :func:`~windvane.samplers.default_grid`.
        start: (x_t ``(n, *)``, t) to begin at time t instead of from noise, see
            :func:`~windvane.samplers.start_from`. Rising times from a start invert the flow.
        dtype: of the state; coefficients are float64.
        batch_size: rows per micro-batch; changes no sample beyond float tolerance.
        grad: whether gradients flow from the samples back to condition, start and weights.
        record: keep every state and prediction, on the CPU.
        before_step, after_step: called with a :class:`StepInfo`; a returned tensor replaces x.
        clip: clamp predictions of x0 to [-clip, clip] or to (low, high).
        check_finite: refuse samples that are not finite, naming the first bad step.
        compile: compile the denoiser's networks first, see :func:`~windvane.compiled.compile_networks`: for
            many samples; the same up to float tolerance.

    Raises:
        ValueError: rows, shapes or times that do not fit.
        FloatingPointError: a state that is not finite.
    """
    parts = list(
        sample_batches(
            denoiser, seeds=seeds, n=n, cond=cond, sampler=sampler, steps=steps, grid=grid, start=start,
            shape=shape, device=device, dtype=dtype, batch_size=batch_size, grad=grad, progress=progress,
            record=record, before_step=before_step, after_step=after_step, clip=clip,
            check_finite=check_finite, compile=compile,
        )
    )  # fmt: skip
    if len(parts) == 1:
        return parts[0]
    n_samples = sum(len(part.x) for part in parts)
    return Samples(
        x=torch.cat([part.x for part in parts]),
        seeds=torch.cat([part.seeds for part in parts]),
        times=parts[0].times,
        calls=sum(part.calls for part in parts),
        rows_per_sample=sum(part.rows_per_sample * len(part.x) for part in parts) / n_samples,
        trajectory=_join([part.trajectory for part in parts if part.trajectory is not None]),
    )


def sample_batches(
    denoiser: Any,
    *,
    seeds: int | Sequence[int] | Tensor,
    n: int | None = None,
    cond: Condition | Tensor | None = None,
    sampler: Sampler | str | type = DDIM(),  # noqa: B008 (frozen)
    steps: int = 50,
    grid: Grid | Tensor | str | None = None,
    start: Start | None = None,
    shape: Sequence[int] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    batch_size: int | None = None,
    grad: bool = False,
    progress: bool = True,
    record: bool = False,
    before_step: Callback | None = None,
    after_step: Callback | None = None,
    clip: float | tuple[float, float] | None = None,
    check_finite: bool = True,
    compile: bool = False,
) -> Iterator[Samples]:
    """:func:`sample`, one micro-batch at a time: memory stays flat however many samples are drawn.

    Arguments are checked at the call, before the first batch is asked for.
    """
    denoiser, sampler, cond = as_denoiser(denoiser), as_sampler(sampler), as_condition(cond)
    start = as_start(start)
    steps = whole(steps, "steps", least=1)
    for switch, what in (
        (grad, "grad"), (record, "record"), (check_finite, "check_finite"), (compile, "compile"),
    ):  # fmt: skip
        flag(switch, what)
    check_dtype(dtype)
    check_callback(before_step, "before_step")
    check_callback(after_step, "after_step")
    rows = resolve_seeds(seeds, n, cond, start)
    size = len(rows) if batch_size is None else whole(batch_size, "batch_size", least=1)
    cond, start = resolve_cond(cond, len(rows)), resolve_start(start, len(rows))
    row_shape = resolve_shape(denoiser, shape, start)
    times = resolve_times(denoiser.process, sampler, grid, steps, start)
    place = resolve_device(denoiser, device)
    if compile:
        compile_networks(denoiser)
    run = Run(sampler, times, before_step, after_step, record, check_finite)
    chunks = [slice(first, first + size) for first in range(0, len(rows), size)]

    def batches() -> Iterator[Samples]:
        total = len(chunks) * (len(times) - 1)
        ticks = track(range(total), "sampling", total=total, enabled=progress)
        for chunk in chunks:
            with _evaluation_mode(denoiser), torch.set_grad_enabled(grad), count_evaluations() as count:
                if start is None:
                    law = denoiser.process.law
                    noise = law.draw(rows[chunk], STREAM_PRIOR, row_shape, dtype=dtype).to(place)
                    x = denoiser.process.prior(noise, times[0])
                else:
                    x = start[0][chunk].to(place, dtype)
                bound = BoundDenoiser(denoiser, cond and cond.index(chunk).to(place), clip)
                x, trajectory = run(bound, x, rows[chunk], ticks)
            yield Samples(x, rows[chunk], times, count.calls, count.rows / len(x), trajectory)
        next(ticks, None)  # lets the bar finish
        _finish(sampler, denoiser)

    return batches()


def _join(parts: list[Trajectory]) -> Trajectory | None:
    """Trajectories side by side; a micro-batch that stopped early stays where it stopped."""
    if not parts:
        return None
    longest = max(len(part.x0) for part in parts)
    return Trajectory(
        torch.cat([_held(part.x, longest + 1) for part in parts], dim=1),
        torch.cat([_held(part.x0, longest) for part in parts], dim=1),
    )


def _held(values: Tensor, length: int) -> Tensor:
    missing = length - len(values)
    return torch.cat([values, values[-1:].expand(missing, *values.shape[1:])]) if missing else values


@contextmanager
def _evaluation_mode(denoiser: Any) -> Iterator[None]:
    """Evaluation mode for every module that is training, and back."""
    training = [m for m in denoiser.modules() if m.training] if isinstance(denoiser, nn.Module) else []
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _finish(sampler: Sampler, denoiser: Any) -> None:
    """A sampling has ended: guidance, in the sampler and in the denoiser, says what of it had no effect."""
    sampler.finished()
    for part in denoiser.modules() if isinstance(denoiser, nn.Module) else ():
        if isinstance(part, Denoiser):
            part.finished()
