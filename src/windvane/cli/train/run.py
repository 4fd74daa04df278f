"""A training from its configuration: condition, network, loop, sample grids."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.annotations.labels import REPORT, lines, make_annotation, work_of
from windvane.cli.common.builders import build_denoiser, build_objective, build_times, loop_options
from windvane.cli.common.conditions.vocabulary import KnownConditions
from windvane.cli.common.config import Config
from windvane.cli.common.datasets import Parts
from windvane.cli.common.errors import Interrupted, say
from windvane.cli.common.guidance import settled
from windvane.cli.common.processes import Processes
from windvane.cli.train.plan import plan_training
from windvane.files import atomic_folder, atomic_write_json
from windvane.hashes import sealed
from windvane.time_budget import TimeBudget

if TYPE_CHECKING:
    from windvane.annotate.annotated import Annotated
    from windvane.annotate.regions import RegionAnnotation
    from windvane.data import ImageData
    from windvane.denoiser import NetworkDenoiser
    from windvane.runs import Run
    from windvane.training.batches import Conditions

#: Of a time that is given, self-labels that are made first take so much at most.
_LABELS = 1 / 3


def condition_of(
    config: Config, data: "ImageData", run: "Run", group: Processes, *, budget: TimeBudget | None = None
) -> "Annotated | None":
    """What the run is conditioned on, the same in every process and kept with the run.

    Self-labels that are made here take at most a third of a `budget`.
    """
    if config.train.condition == "none":
        return None
    if config.train.condition == "regions":
        return _regions(config, data, run, group)
    if group.first and not (run.annotations / "annotation.json").is_file():
        _annotate(config, data, run, group, budget)
    group.wait()
    from windvane.annotate import load_annotation

    return load_annotation(run.annotations, data=data)


def _regions(config: Config, data: "ImageData", run: "Run", group: Processes) -> "RegionAnnotation":
    from windvane.annotate import load_annotation, load_regions
    from windvane.annotate.folder_kinds import ANNOTATION
    from windvane.annotate.storage import BESIDE

    if group.first and not (run.annotations / "regions.json").is_file():
        if config.train.annotation is None:
            raise ValueError(
                "boxes and masks come from an annotation: windvane annotate DATA --boxes --out DIR"
            )
        load_regions(config.train.annotation, data=data).save(run.annotations)
        beside = Path(config.train.annotation) / BESIDE
        if beside.is_dir():  # only reports look at it
            load_annotation(beside, data=data)  # damage is not copied
            with atomic_folder(run.annotations / BESIDE, ANNOTATION) as folder:
                shutil.copytree(beside, folder, dirs_exist_ok=True)
    group.wait()
    return load_regions(run.annotations, data=data)


def _annotate(
    config: Config, data: "ImageData", run: "Run", group: Processes, budget: TimeBudget | None
) -> None:
    from windvane.annotate import Annotation, load_annotation
    from windvane.cli.common.annotations.pacing import paced

    if config.train.condition == "labels":
        if data.labels is None:
            raise ValueError(
                "--labels needs labels, and these images have none; --annotate 30 makes self-labels"
            )
        if bool((data.labels < 0).any()):
            missing = int((data.labels < 0).sum())
            raise ValueError(f"--labels needs a label for every image; {missing} of {len(data)} have none")
        names = data.label_names
        made = Annotation.given(data.labels, data, k=len(names) if names else None, source="labels")
        told = made.report()
    elif config.train.annotation is not None:
        made = load_annotation(config.train.annotation, data=data)
        told = made.report(data.labels)
    else:
        part = None if budget is None else budget.share(_LABELS)
        config = paced(config, data, part, device=group.device)
        work = work_of(config.annotate, device=group.device, progress=True)
        made, told = make_annotation(config.annotate, data, work, flip=config.train.flip)
        for line in lines(told):
            say(line)
    made.save(run.annotations)
    atomic_write_json(run.annotations / REPORT, sealed(told))


def asked(annotation: "Annotated | None", data: "ImageData") -> KnownConditions | None:
    """What the model may be asked for, in the form that is kept with it."""
    if annotation is None:
        return None
    kind = annotation.title.lower() if annotation.kind == "ids" else annotation.kind
    layout, size = annotation.layout or (None, None)
    return KnownConditions(
        annotation.k or 0,
        kind,  # type: ignore[arg-type]
        annotation.counts,
        data.label_names if kind == "labels" else None,
        layout,
        size,
        tuple(data.shape),
    )


def train_run(
    config: Config,
    parts: Parts,
    run: "Run",
    annotation: "Annotated | None",
    group: Processes,
    *,
    budget: TimeBudget | None = None,
) -> dict[str, Any]:
    """Train, and return what to tell; an interrupted training is saved and raises `Interrupted`.

    With a `budget` the training has as many steps as fit, see `training_plan`.
    """
    from windvane.networks import parameter_count
    from windvane.training import train

    known = asked(annotation, parts.train)
    section = settled(config.sample, known, weight_given=False)
    config = config.model_copy(update={"sample": section})
    denoiser = _denoiser(config, parts, known, group)
    plan = plan_training(
        config,
        denoiser,
        parts.train,
        _rows(annotation),
        known=known,
        run=run,
        budget=budget,
        measure=group.count == 1,
    )
    config, chosen = plan.config, plan.config.train
    if group.first:
        run.when_opened = lambda: _keep(config, parts, run)
        say(
            f"{len(parts.train)} images of {'x'.join(map(str, parts.train.shape))}, "
            f"{parameter_count(denoiser.network) / 1e6:.2f} M parameters, on {group.device}: "
            f"{chosen.steps} steps of {chosen.batch_size}"
        )
        for line in plan.lines:
            say(line)
    result = train(
        denoiser,
        parts.train,
        conditions=_rows(annotation),
        **loop_options(chosen),
        objective=build_objective(chosen, denoiser),
        times=build_times(chosen, denoiser),
        run=run,
        sample=plan.grids,
        callbacks=plan.early,
        replan=plan.deadline,
        progress=group.first,
        extra=known.to_extra() if known else {},
    )
    if result.interrupted:
        raise Interrupted(
            f"the state after step {result.step} of {chosen.steps} is saved; "
            f"windvane train --out {run.path} --resume continues"
        )
    loss = next(
        (row["loss"] for row in reversed(result.history) if row.get("loss") is not None), float("nan")
    )
    return {"steps": result.step, "loss": loss}


def _denoiser(
    config: Config, parts: Parts, known: KnownConditions | None, group: Processes
) -> "NetworkDenoiser":
    import torch

    denoiser = build_denoiser(
        config.model,
        config.process,
        shape=parts.train.shape,
        vector=(known.count or None) if known else None,
        layout=known.layout if known else None,
        seed=config.train.seed,
    )
    if str(group.device).startswith("cuda") and config.model.type == "unet":
        # Convolutions in half precision are quicker in this order of memory; nothing else changes.
        denoiser.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return denoiser


def _keep(config: Config, parts: Parts, run: "Run") -> None:
    """Write what was asked for; a run that goes on to fewer steps than before keeps the greater number."""
    if parts.train.scan is not None:
        atomic_write_json(run.path / "scan.json", sealed(parts.train.scan.to_dict()))
    told = config.model_dump(mode="json")
    if run.latest_state() is not None:
        before = run.read_config().get("train")
        steps = before.get("steps") if isinstance(before, dict) else None
        if isinstance(steps, int):
            told["train"]["steps"] = max(steps, config.train.steps)
    run.write_config(told)


def _rows(annotation: "Annotated | None") -> "Conditions | None":
    """A condition for every training image; maps are made batch by batch."""
    return None if annotation is None else annotation.conditions()
