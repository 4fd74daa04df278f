"""Training a denoiser, on one process or many."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from windvane.denoiser import Denoiser
from windvane.progress import track
from windvane.runs import Run
from windvane.training.batches import Batches, Conditions, TensorData, TrainingData
from windvane.training.checks import check_cut, check_modes, check_numbers
from windvane.training.dropout import Dropout
from windvane.training.objective import Objective, as_objective, default_objective
from windvane.training.processes import make_accelerator, must_stop
from windvane.training.program import Group, Program, Update
from windvane.training.session import Callback, Session
from windvane.training.step import Stepper
from windvane.training.stop import StopSignals
from windvane.training.times import TimeSampler, default_times
from windvane.training.trackers import check_trackers, plain


@dataclass(frozen=True)
class TrainResult:
    """What :func:`train` returns: averaged and raw denoiser, rows of the log, steps done, if interrupted."""

    ema: Denoiser
    raw: Denoiser
    history: list[dict[str, Any]]
    step: int
    interrupted: bool


def train(
    denoiser: Denoiser,
    data: TrainingData | Tensor,
    *,
    conditions: Conditions | None = None,
    steps: int,
    batch_size: int = 128,
    lr: float = 3e-4,
    weight_decay: float = 0.01,
    betas: tuple[float, float] = (0.9, 0.999),
    warmup: int = 500,
    clip_norm: float | None = 1.0,
    schedule: str = "constant",
    accumulate: int = 1,
    ema_decay: float = 0.9999,
    dropout: Dropout = 0.1,
    objective: Objective | None = None,
    parameters: Sequence[nn.Parameter] | Sequence[Group] | None = None,
    also: Sequence[Update] = (),
    modules: Mapping[str, nn.Module] = MappingProxyType({}),
    times: TimeSampler | None = None,
    flip: bool = False,
    mixed_precision: str = "no",
    seed: int = 0,
    run: Run | None = None,
    checkpoint_every: int = 1000,
    log_every: int = 50,
    sample_every: int = 0,
    sample: Callback | None = None,
    callbacks: Sequence[Callback] = (),
    replan: Callable[[int], int] | None = None,
    trackers: Sequence[Any] = (),
    compile: bool = False,
    progress: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> TrainResult:
    """Train ``denoiser`` in place on ``data`` and return it with its average.

    Works unchanged under ``torchrun`` and ``accelerate launch``. Rows, noise, times and dropped conditions of
    a step depend on ``seed`` and the step only, so the result does not depend, to float tolerance, on the
    number of processes or on ``accumulate`` (a network's own dropout layers excepted). The global random
    generators are left as they were.

    Args:
        data: ``len`` and ``batch(indices) -> (B, *shape)``, or a float tensor ``(n, *shape)``. Batches that
            take more than a millisecond are drawn ahead by a thread, while the step before runs.
        conditions: n rows, row i belongs to sample i: a `Condition`, or whatever has ``len`` and makes one by
            ``index(rows)``; ``dropout`` of the rows lose all their signals. A mapping has a probability for
            each signal by name, drawn one by one, see :func:`~windvane.training.dropout.drop_signals`.
        batch_size: samples per optimizer step over all processes; ``accumulate`` cuts each process's share
            into that many parts to save memory.
        warmup: steps over which the learning rate rises linearly.
        schedule: what follows: "constant", "cosine" or "linear", both down to zero at the end; these two need
            as many ``steps`` on a resume as before.
        clip_norm: largest gradient norm; None for no limit.
        objective: (model, batch, keys) -> (B,), by default the plain loss on what the network predicts.
            Modules that it asks and that must not change are its attributes, as
            :class:`~windvane.training.program.Frozen`.
        parameters: what is trained, or groups of it with rates of their own; None: all that can be.
        also: further updates of every step, such as a critic's, each with its objective and optimizer, see
            :class:`~windvane.training.program.Update`; ``modules`` by name are trained beside the denoiser.
        times: default for the process.
        mixed_precision: "no" or "bf16" (weights, loss and averages stay float32).
        run: the folder for state, model and log. If it holds a training state, training continues from it, on
            the CPU bit for bit; every setting that shapes the result must be the same, ``steps`` may grow.
        sample: called every ``sample_every`` steps; callbacks: called after every line of the log.
        replan: called after every step with the number of steps done; returns how many there are to be in all
            (no more than are done: the training ends here, as if ``steps`` had been so many). One process.
        trackers: names such as "tensorboard", "wandb", "trackio".
        extra: stored with the model, JSON.

    With a ``run``, SIGINT and SIGTERM end the current step, save, and return with ``interrupted=True``.
    Without one there is nothing to go on from, and they have their usual effect: a script must not take half
    a training for a whole one.

    Raises:
        FloatingPointError: at a loss or gradient that is not finite; states on disk stay good.
        ValueError: for settings that cannot work.
    """
    check_numbers(steps=steps, accumulate=accumulate, log_every=log_every, checkpoint_every=checkpoint_every)
    check_modes(mixed_precision=mixed_precision, sample_every=sample_every, sample=sample)
    if isinstance(data, Tensor):
        data = TensorData(data)
    own = Update(
        name="loss",
        objective=default_objective(denoiser) if objective is None else as_objective(objective),
        parameters=parameters,
        lr=lr,
        weight_decay=weight_decay,
        betas=betas,
        warmup=warmup,
        clip_norm=clip_norm,
        schedule=schedule,
    )
    program = Program((own, *also), modules)
    times = default_times(denoiser.process) if times is None else times
    batches = Batches(
        data, conditions, batch_size=batch_size, seed=seed, times=times, dropout=dropout, flip=flip,
        law=denoiser.process.law,
    )  # fmt: skip
    if denoiser.shape is not None and batches.shape != denoiser.shape:
        raise ValueError(f"the denoiser is made for samples {denoiser.shape}, the data has {batches.shape}")
    names = check_trackers(trackers, has_run=run is not None)
    accelerator = make_accelerator(mixed_precision, names, run)
    check_cut(batch_size, processes=accelerator.num_processes, accumulate=accumulate)
    if replan is not None and accelerator.num_processes > 1:
        raise ValueError("replan is for one process; several would have to agree after every step")
    if replan is not None and any(update.schedule != "constant" for update in program.updates):
        raise ValueError("replan changes where the training ends, on which a schedule to zero depends")
    was_training = denoiser.training
    stepper = Stepper(
        denoiser,
        program,
        accelerator,
        accumulate=accumulate,
        ema_decay=ema_decay,
        bf16=mixed_precision == "bf16",
        compile=compile,
    )
    session = Session(stepper, batches, accelerator, steps=steps, run=run, extra=extra)
    if trackers:
        accelerator.init_trackers("windvane", config=plain(session.settings))
    try:
        interrupted = _run_steps(
            session,
            log_every=log_every,
            checkpoint_every=checkpoint_every,
            sample_every=sample_every,
            sample=sample,
            callbacks=callbacks,
            replan=replan,
            progress=progress,
        )
    finally:
        denoiser.train(was_training)
        for tracker in accelerator.trackers:
            tracker.finish()
    return TrainResult(stepper.ema.denoiser, denoiser, session.history, session.step, interrupted)


def _run_steps(
    session: Session,
    *,
    log_every: int,
    checkpoint_every: int,
    sample_every: int,
    sample: Callback | None,
    callbacks: Sequence[Callback],
    replan: Callable[[int], int] | None,
    progress: bool,
) -> bool:
    """Take the steps that are left; whether a signal ended them early."""
    interrupted = False
    with ExitStack() as stack:
        session.open(stack)
        signals = StopSignals()
        if session.run is not None:
            stack.enter_context(signals)
        session.read_ahead(stack)
        try:
            first = session.step
            aloud = progress and session.main
            for _ in track(
                _steps_left(session), "training", total=lambda: session.steps - first, enabled=aloud
            ):
                session.one_step()
                if replan is not None:
                    session.end_after(replan(session.step))
                done = session.step == session.steps
                if session.step % log_every == 0 or done:
                    session.log()
                    session.call(callbacks)
                if sample is not None and sample_every and session.step % sample_every == 0:
                    session.call([sample])
                interrupted = not done and must_stop(session, signals)
                if interrupted:
                    break
                if session.step % checkpoint_every == 0:
                    session.save()
            session.save()
        except Exception as error:
            session.status("failed", f"{type(error).__name__}: {error}")
            raise
        except BaseException:  # a second Ctrl-C, which breaks off even a hanging step
            session.status("interrupted", "broken off; run it again to go on from the last saved state")
            raise
        if interrupted:
            message = f"stopped by {signals.received or 'a signal to another process'}; run it again to go on"
            session.status("interrupted", message)
        else:
            session.status("finished")
    return interrupted


def _steps_left(session: Session) -> Iterator[int]:
    """The numbers of the steps to come; where the training ends may change on the way."""
    while session.step < session.steps:
        yield session.step
