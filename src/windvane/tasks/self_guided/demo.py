"""The main job: the whole way on the embedded digits, with controls, in a few minutes on two cores."""

import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from windvane.annotate import Annotation, annotate
from windvane.annotate.controls import random_ids
from windvane.annotate.folder_kinds import ANNOTATION
from windvane.annotate.images.statistics import agreement as label_agreement
from windvane.checkpoint import MODEL
from windvane.data import ImageData, digits, train_and_held_out
from windvane.denoiser import Denoiser
from windvane.files import atomic_write_text
from windvane.invocation import made_by
from windvane.judges import train_judge
from windvane.pictures import save_png
from windvane.randomness import VERSION
from windvane.runs import Run
from windvane.tasks.self_guided.experiment import Budget, Variant, fit, generate
from windvane.tasks.self_guided.measure import Row, Yardstick, format_rows
from windvane.tasks.self_guided.page import write_page
from windvane.tasks.self_guided.picture import cluster_picture

#: Guidance weights of each arm; fixed beforehand, all of them are shown.
WEIGHTS = {"none": (1.0,), "random ids": (1.0, 1.5), "true labels": (1.0, 1.5)}
SWEEP = (0.0, 1.0, 1.5, 2.0, 3.0)
CLUSTERS = 30
#: How the command line finds the training images of a run again, and those that were held out.
DATA = {"source": "digits", "holdout": 1 / 3, "seed": 0}
SAMPLING_SEEDS = 3


def say(text: str) -> None:
    """A line of progress on standard error, where the bars are."""
    print(text, file=sys.stderr, flush=True)


def labels_of(data: ImageData) -> Tensor:
    """The labels, which the judge and the control arm need."""
    if data.labels is None:
        raise ValueError("the comparison needs labels for its judge and its control arm; this data has none")
    return data.labels


def arms(train: ImageData, annotation: Annotation, seed: int) -> list[Variant]:
    """No condition, self-labels, true labels, and random ids with the self-labels' sizes."""
    labels, ids, k = labels_of(train), annotation.ids, annotation.k
    return [
        Variant("none"),
        Variant("self-labels", ids, k),
        Variant("true labels", labels, int(labels.max()) + 1, "labels"),
        Variant("random ids", random_ids(ids, seed=seed), k),
    ]


def settings_of(variant: Variant, budget: Budget, seed: int) -> dict[str, Any]:
    """What the command line's own training would have written of this one, so that its commands go on."""
    condition = "none" if variant.ids is None else variant.kind
    trained = {"condition": condition, "steps": budget.steps, "batch_size": budget.batch_size}
    trained |= {"learning_rate": budget.lr, "warmup": budget.warmup, "ema": budget.ema_decay, "seed": seed}
    return {
        "data": DATA,
        "annotate": {"k": CLUSTERS, "features": "pca", "seed": seed},
        "process": {"type": "vp_cosine"},
        "model": {"type": "mlp", "prediction": "v"},
        "train": {**trained, "flip": budget.flip, "precision": budget.mixed_precision},
        "sample": {"steps": budget.sampling_steps},
    }


def keep_annotation(run: Run, variant: Variant, annotation: Annotation, train: ImageData) -> None:
    """The arm's ids beside its model: the clusters with their rule, labels and random ids as given."""
    if variant.ids is None:
        return
    if variant.ids is annotation.ids:
        annotation.save(run.annotations)
        return
    source = "labels" if variant.kind == "labels" else "random clusters"
    Annotation.given(variant.ids, train, k=variant.k, source=source).save(run.annotations)


def sweep(
    denoiser: Denoiser, variant: Variant, yardstick: Yardstick, budget: Budget, samples: int, seed: int
) -> list[Row]:
    """The arm at every weight, three sampling seeds each."""
    rows = []
    for weight in WEIGHTS.get(variant.name, SWEEP):
        sets: list[Tensor] = [
            generate(denoiser, variant, n=samples, seed=seed + s, weight=weight, steps=budget.sampling_steps)[
                0
            ]
            for s in range(SAMPLING_SEEDS)
        ]
        rows.append(yardstick.row(variant.name, weight, sets))
    return rows


def demo(out: Path, *, seed: int = 0, quick: bool = False, progress: bool = True) -> None:
    """Annotate, train, sample, measure and report on scikit-learn's digits; everything goes to ``out``.

    Four networks of one size get the same training: without a condition, on self-labels, on true labels, on
    random ids. Labels reach the annotation and the generators nowhere but in the arm that is named for them.

    Args:
        quick: little training and few samples, to see that everything runs; the numbers mean little.

    Raises:
        ValueError: something else lies where the annotation or a model goes.
    """
    begin = time.monotonic()
    ANNOTATION.check(out / "annotation")
    for kept in (out / "runs").glob("*/model"):
        MODEL.check(kept)
    out.mkdir(parents=True, exist_ok=True)
    budget = replace(Budget(), steps=100, sampling_steps=10) if quick else Budget()
    train, held_out = train_and_held_out(digits(), seed=0)
    say(f"digits: {len(train)} images to train on, {len(held_out)} held out")
    samples = 300 if quick else len(train)

    annotation = annotate(train, features="pca", k=CLUSTERS, seed=seed, progress=progress)
    annotation.save(out / "annotation")
    say(f"annotate: {CLUSTERS} clusters of principal components, no label used")
    found = label_agreement(annotation.ids, labels_of(train))
    say(f"  looking at the labels only now: NMI {found['nmi']:.2f}, purity {found['purity']:.2f}")
    judge = train_judge(train, test=(held_out, labels_of(held_out)), seed=seed, progress=progress)
    say(f"judge: a classifier trained on labels, {judge.accuracy:.1%} right on held-out digits")

    yardstick = Yardstick(judge, train, held_out)
    rows: list[Row] = []
    denoisers: dict[str, Denoiser] = {}
    for variant in arms(train, annotation, seed):
        say(f"train: {variant.name}, {budget.steps} steps of {budget.batch_size}")
        run = Run(out / "runs" / variant.name.replace(" ", "-"))
        run.write_config(settings_of(variant, budget, seed))
        keep_annotation(run, variant, annotation, train)
        denoisers[variant.name] = fit(variant, train, budget, seed=seed, run=run, progress=progress)
        rows += sweep(denoisers[variant.name], variant, yardstick, budget, samples, 1000 * (seed + 1))
        done = [row for row in rows if row.name == variant.name]
        say(
            "  Fréchet distance "
            + ", ".join(f"{r.values['frechet'].value:.2f} at {r.weight:g}" for r in done)
        )

    real = yardstick.real()
    table = format_rows(rows, real)
    guided = denoisers["self-labels"]
    largest = annotation.sizes.argsort(descending=True, stable=True)[:8].tolist()
    picture = cluster_picture(guided, train, annotation.ids, clusters=largest)
    about = {"task": "self-guided demo", "seed": seed, "quick": quick, "randomness": VERSION, **made_by()}
    save_png(picture, out / "demo.png", about)
    results = {"seed": seed, "quick": quick, "budget": asdict(budget), "samples": samples, "real": real}
    results |= {"rows": [row.to_dict() for row in rows], "seconds": time.monotonic() - begin}
    atomic_write_text(out / "results.json", json.dumps(results, indent=2))
    atomic_write_text(out / "table.txt", table + "\n")
    write_page(
        out, rows=rows, real=real, train=train, annotation=annotation, denoiser=guided, picture=picture
    )
    print(table)
    print(
        f"\n{samples} samples, mean ± 95 % interval over {SAMPLING_SEEDS} sampling seeds; Fréchet distance, "
        f"precision and recall against {len(held_out)} held-out digits in the features of a classifier"
        f"\n({judge.accuracy:.1%} accurate); nearest: pixel distance to the nearest training image."
        f"\n\n{out / 'report.html'}\n{out / 'demo.png'}\n{time.monotonic() - begin:.0f} s"
    )
