"""A training from its configuration: condition, network, loop, sample grids."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.annotating import REPORT, lines, make_annotation
from windvane.cli.build import build_denoiser, build_guided, build_objective, build_sampler, build_times
from windvane.cli.conditions import Asked, settled
from windvane.cli.config import Config
from windvane.cli.errors import Interrupted, say
from windvane.cli.opening import Parts
from windvane.cli.pacing import LEAST_STEPS, estimate, first_pictures, fitted, seconds_per_step
from windvane.cli.processes import Processes
from windvane.cli.recipe import sampler_settings
from windvane.cli.wanted import wanted
from windvane.files import atomic_folder, atomic_write_json
from windvane.hashes import sealed

if TYPE_CHECKING:
    from windvane.annotate import Annotation, BoxAnnotation, MaskAnnotation
    from windvane.data import ImageData
    from windvane.runs import Run
    from windvane.training import Snapshot
    from windvane.training.batches import Conditions

    Layouts = BoxAnnotation | MaskAnnotation
    Given = Annotation | Layouts

_GRID_PICTURES = 36
_GRID_STEPS = 40


def condition_of(config: Config, data: "ImageData", run: "Run", group: Processes) -> "Given | None":
    """What the run is conditioned on, the same in every process and kept with the run."""
    if config.train.condition == "none":
        return None
    if config.train.condition == "regions":
        return _regions(config, data, run, group)
    if group.first and not (run.annotations / "annotation.json").is_file():
        _annotate(config, data, run, group)
    group.wait()
    from windvane.annotate import load_annotation

    return load_annotation(run.annotations, data=data)


def _regions(config: Config, data: "ImageData", run: "Run", group: Processes) -> "Layouts":
    from windvane.annotate import load_annotation, load_regions
    from windvane.annotate.owned import ANNOTATION
    from windvane.annotate.regions_storage import BESIDE

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


def _annotate(config: Config, data: "ImageData", run: "Run", group: Processes) -> None:
    from windvane.annotate import Annotation, load_annotation

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
        made, told = make_annotation(
            config.annotate, data, flip=config.train.flip, device=group.device, progress=True
        )
        for line in lines(told):
            say(line)
    made.save(run.annotations)
    atomic_write_json(run.annotations / REPORT, sealed(told))


def asked(annotation: "Given | None", data: "ImageData") -> Asked | None:
    """What the model may be asked for, in the form that is kept with it."""
    import torch

    from windvane.annotate import BoxAnnotation, MaskAnnotation

    shape = tuple(data.shape)
    if annotation is None:
        return None
    if isinstance(annotation, MaskAnnotation):
        return Asked(annotation.k, "masks", layout=annotation.k, size=annotation.size, shape=shape)
    if isinstance(annotation, BoxAnnotation):
        count, ids = annotation.k or 0, annotation.ids
        sizes = None if ids is None else torch.bincount(ids, minlength=count).tolist()
        return Asked(count, "boxes", sizes, layout=1, size=annotation.size, shape=shape)
    by_labels = annotation.source == "labels"
    return Asked(
        annotation.k,
        "labels" if by_labels else "clusters",
        annotation.sizes.tolist(),
        data.label_names if by_labels else None,
        shape=shape,
    )


def train_run(
    config: Config,
    parts: Parts,
    run: "Run",
    annotation: "Given | None",
    group: Processes,
    *,
    minutes: float | None = None,
) -> dict[str, Any]:
    """Train, and return what to tell; an interrupted training is saved and raises `Interrupted`.

    With `minutes` the training has as many steps as fit, see `pacing.fitted`.
    """
    import torch

    from windvane.networks import parameter_count
    from windvane.training import train

    known = asked(annotation, parts.train)
    section = settled(config.sample, known, weight_given=False)
    config = config.model_copy(update={"sample": section})
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
    pace = None
    if group.count == 1 and (minutes is not None or config.train.steps >= LEAST_STEPS):
        pace = seconds_per_step(denoiser, parts.train, _rows(annotation), config.train)
        if minutes is not None:
            config = config.model_copy(update={"train": fitted(config.train, pace, minutes)})
    if group.first:
        run.when_opened = lambda: _keep(config, parts, run)
        say(
            f"{len(parts.train)} images of {'x'.join(map(str, parts.train.shape))}, "
            f"{parameter_count(denoiser.network) / 1e6:.2f} M parameters, on {group.device}: "
            f"{config.train.steps} steps of {config.train.batch_size}"
        )
        for line in [] if pace is None else estimate(config.train, pace):
            say(line)
    chosen = config.train
    grids = _grids(config, known, run) if chosen.sample_every else None
    result = train(
        denoiser,
        parts.train,
        conditions=_rows(annotation),
        steps=chosen.steps,
        batch_size=chosen.batch_size,
        lr=chosen.learning_rate,
        weight_decay=chosen.weight_decay,
        warmup=chosen.warmup,
        clip_norm=chosen.clip,
        accumulate=chosen.accumulate,
        ema_decay=chosen.ema,
        dropout=chosen.dropout,
        objective=build_objective(chosen),
        times=build_times(chosen, denoiser),
        flip=chosen.flip,
        mixed_precision=chosen.precision,
        compile=chosen.compile,
        seed=chosen.seed,
        run=run,
        checkpoint_every=chosen.checkpoint_every,
        log_every=chosen.log_every,
        sample_every=chosen.sample_every,
        sample=grids,
        callbacks=[] if grids is None or pace is None else [_early(grids, first_pictures(chosen, pace), run)],
        trackers=chosen.trackers,
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


def _rows(annotation: "Given | None") -> "Conditions | None":
    """A condition for every training image; maps are made batch by batch."""
    from windvane.annotate import Annotation, RegionConditions

    if annotation is None or isinstance(annotation, Annotation):
        return None if annotation is None else annotation.condition()
    return RegionConditions(annotation)


def _early(grids: "Callable[[Snapshot], None]", first: int, run: "Run") -> "Callable[[Snapshot], None]":
    """A callback that draws one grid long before the others are due."""

    def write(snapshot: "Snapshot") -> None:
        if snapshot.step >= first and not any(run.samples.glob("step-*.png")):
            grids(snapshot)

    return write


def _grids(config: Config, known: Asked | None, run: "Run") -> "Callable[[Snapshot], None]":
    """A callback that writes a grid of samples of the averaged weights, always of the same seeds."""
    from windvane.pictures import image_grid, save_png
    from windvane.samplers import sample

    section = config.sample.model_copy(update={"steps": min(config.sample.steps, _GRID_STEPS)})
    seeds = list(range(section.seed, section.seed + min(section.n, _GRID_PICTURES)))
    asked = wanted(section, known, seeds, model=run.model)

    def write(snapshot: "Snapshot") -> None:
        made = sample(
            build_guided(snapshot.ema, section),
            seeds=seeds,
            cond=None if asked is None else asked.condition(),
            sampler=build_sampler(section),
            steps=section.steps,
            batch_size=section.batch_size,
            clip=1.0 if section.clip else None,
            progress=False,
        )
        settings = {"step": snapshot.step, "seeds": seeds, **sampler_settings(section)}
        save_png(image_grid(made.x), run.samples / f"step-{snapshot.step:08d}.png", settings)

    return write
