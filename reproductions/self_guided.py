"""Self-Guided Diffusion Models (Hu et al. 2023, arXiv 2210.06462): do self-labels replace labels?

Arms of one network and one training budget: no condition; ids dealt at random; true labels; self-labels over
numbers of clusters and feature extractors, the denoiser's own features among them (self-guidance without a
second network). The same again on a long-tailed training set.

    python reproductions/self_guided.py                          # digits, two CPU cores
    python reproductions/self_guided.py --part labels --seeds 1
    python reproductions/self_guided.py --part longtail --tail linear
    python reproductions/self_guided.py --scale colour --train train.parquet --test test.parquet
    python reproductions/self_guided.py --scale full --train train.parquet --test test.parquet

``colour`` is for CIFAR-10 on two CPU cores in a quarter of an hour: a small transformer sees 10,000 images
twice, which is far from what the data allow, and enough to tell the conditions apart. ``full`` is the same on
a GPU, with a UNet of DDPM's size.

Every arm is trained once per seed; each training is sampled once per weight. Figures are means over the
training seeds with their 95 % interval, against held-out images.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from results import markdown, record
from torch import Tensor

from windvane.annotate import annotate
from windvane.annotate.controls import random_ids
from windvane.annotate.features import DenoiserFeatures
from windvane.data import ImageData, digits, open_data, train_and_held_out
from windvane.denoiser import Denoiser, NetworkDenoiser
from windvane.metrics import extract_features, frechet, manifold, over_seeds, train_judge
from windvane.networks import ConditionedDiT, preset
from windvane.process import VPCosine
from windvane.randomness import derive_seed, scoped_seed
from windvane.tasks.self_guided import Budget, Variant, Yardstick, fit, generate
from windvane.tasks.self_guided.experiment import Maker, digit_denoiser

WEIGHTS = (1.0, 1.5, 2.0)


@dataclass(frozen=True)
class Setting:
    """What differs between the scales."""

    name: str
    budget: Budget
    make: Maker
    clusters: tuple[int, ...]
    extractors: tuple[str, ...]
    samples: int
    batch: int | None
    ratio: float
    judge_steps: int
    judge_kind: Literal["mlp", "conv"] | None = None
    images: int | None = None
    weights: tuple[float, ...] = WEIGHTS


def cifar_denoiser(k: int, seed: int) -> NetworkDenoiser:
    """DDPM-sized UNet in bf16 for 32x32 colour images."""
    with scoped_seed(derive_seed(seed, 1)):
        network = preset("unet-cifar", shape=(3, 32, 32), vector=k or None)
    if torch.cuda.is_available():
        network = network.to("cuda", memory_format=torch.channels_last)
    return NetworkDenoiser(network, VPCosine(), parametrisation="v", shape=(3, 32, 32))


def small_colour_denoiser(k: int, seed: int) -> NetworkDenoiser:
    """A transformer of 0.8 M parameters for 32x32 colour images, quick on a CPU."""
    shape = (3, 32, 32)
    with scoped_seed(derive_seed(seed, 1)):
        network = ConditionedDiT.build(shape=shape, vector=k or None, width=96, depth=4, heads=4, patch=4)
    return NetworkDenoiser(network, VPCosine(), parametrisation="v", shape=shape)


SMALL = Setting("digits", Budget(), digit_denoiser, (10, 30, 100), ("selfsup",), 1198, None, 20.0, 600)
FULL = Setting(
    "CIFAR-10",
    Budget(
        steps=60_000, batch_size=128, lr=2e-4, warmup=500, ema_decay=0.9999, flip=True,
        mixed_precision="bf16", compile=True, sampling_steps=50,
    ),
    cifar_denoiser, (10, 100, 400), ("selfsup",), 10_000, 500, 20.0, 8000,
)  # fmt: skip


COLOUR = Setting(
    "CIFAR-10 on a CPU",
    Budget(steps=700, batch_size=32, lr=1e-3, warmup=50, ema_decay=0.995, sampling_steps=20),
    small_colour_denoiser, (100,), ("selfsup:400",), 500, 125, 20.0, 800, "mlp", 10_000, (1.0, 2.0),
)  # fmt: skip
SCALES = {"small": SMALL, "colour": COLOUR, "full": FULL}


def labels_of(data: ImageData) -> Tensor:
    if data.labels is None:
        raise SystemExit("this reproduction needs labels for its control arm and its judge")
    return data.labels


def self_labels(train: ImageData, features: object, k: int, seed: int, name: str) -> Variant:
    """Cluster ids of the training images as a condition."""
    annotation = annotate(train, features=features, k=k, seed=seed, progress=False)  # type: ignore[arg-type]
    return Variant(name, annotation.ids, k)


Builder = Callable[[Denoiser | None], Variant]


def arms(setting: Setting, train: ImageData, seed: int, middle: int) -> dict[str, Builder]:
    """The arms by name, in order; a builder is given the unconditional denoiser, which comes first."""
    labels = labels_of(train)

    def chance(_: Denoiser | None) -> Variant:
        base = self_labels(train, "pca", middle, seed, "")
        return Variant("", None if base.ids is None else random_ids(base.ids, seed=seed), middle)

    def own(unconditional: Denoiser | None) -> Variant:
        if not isinstance(unconditional, NetworkDenoiser):
            raise ValueError("the arm on the denoiser's own features needs the arm without a condition")
        return self_labels(train, DenoiserFeatures(unconditional, t=0.2), middle, seed, "")

    made: dict[str, Builder] = {
        "none": lambda _: Variant("none"),
        f"random ids, K={middle}": chance,
        "true labels": lambda _: Variant("", labels, int(labels.max()) + 1),
    }
    for k in setting.clusters:
        made[f"self-labels, pca, K={k}"] = lambda _, k=k: self_labels(train, "pca", k, seed, "")
    for kind in setting.extractors:
        name = f"self-labels, {kind}, K={middle}"
        made[name] = lambda _, kind=kind: self_labels(train, kind, middle, seed, "")
    made[f"self-labels, own denoiser, K={middle}"] = own
    return made


@dataclass
class Cell:
    """Figures of one arm at one weight, one entry per training seed."""

    name: str
    weight: float
    figures: list[dict[str, float]]


def run_part(
    setting: Setting, train: ImageData, yardstick: Yardstick, seeds: Sequence[int], *,
    rare: tuple[Tensor, Tensor] | None,    only: Sequence[str] | None = None,
) -> list[Cell]:  # fmt: skip
    """Train and measure every arm for every seed. With ``rare`` also the recall of these labels."""
    cells: dict[tuple[str, float], Cell] = {}
    for seed in seeds:
        plain: Denoiser | None = None
        for name, build in arms(setting, train, seed, setting.clusters[len(setting.clusters) // 2]).items():
            if only is not None and name not in only:
                continue
            begin = time.monotonic()
            variant = replace(build(plain), name=name)
            denoiser = fit(variant, train, setting.budget, make=setting.make, seed=seed, progress=False)
            plain = denoiser if variant.ids is None else plain
            for weight in (1.0,) if variant.ids is None else setting.weights:
                images, _ = generate(
                    denoiser, variant, n=setting.samples, seed=100 + seed, weight=weight,
                    steps=setting.budget.sampling_steps, batch_size=setting.batch,
                )  # fmt: skip
                figures = yardstick.measure(images.cpu())
                if rare is not None:
                    figures |= rare_figures(yardstick, images.cpu(), *rare)
                cells.setdefault((variant.name, weight), Cell(variant.name, weight, [])).figures.append(
                    figures
                )
            first = cells[(variant.name, 1.0)].figures[-1]
            print(
                f"seed {seed}: {name}: Fréchet {first['frechet']:.2f} at weight 1, "
                f"{time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True,
            )  # fmt: skip
    return list(cells.values())


def rare_figures(yardstick: Yardstick, images: Tensor, classes: Tensor, held_out: Tensor) -> dict[str, float]:
    """How well rare ``classes`` are served: their share of the samples, and quality and coverage of these.

    Precision, recall and Fréchet distance compare the samples that the judge takes for rare classes with the
    held-out images of these, which ``held_out`` ``(m,)`` marks. Recall of few samples is low by itself; it is
    comparable between arms as they are equally many in all.
    """
    with torch.no_grad():
        taken = torch.isin(yardstick.judge.classify(images).argmax(1), classes)
    found = {"rare share": taken.double().mean().item()}
    if int(taken.sum()) < 10:
        return {**found, "rare Fréchet": float("nan"), "rare precision": float("nan"), "rare recall": 0.0}
    features = extract_features(images[taken], yardstick.judge, progress=False)
    real = yardstick.reference[held_out]
    shares = {m.name: m.value for m in manifold(features, real, resamples=0)}
    distance = frechet(features, real, resamples=0, bias=False, allow_few=True).value
    return found | {
        "rare Fréchet": distance, "rare precision": shares["precision"], "rare recall": shares["recall"],
    }  # fmt: skip


def report(title: str, cells: Sequence[Cell], real: dict[str, float], note: str) -> None:
    """Print the table and put it into RESULTS.md."""
    quantities = list(cells[0].figures[0])
    rows = []
    for cell in cells:
        row = [cell.name, f"{cell.weight:g}"]
        for q in quantities:
            values = [f[q] for f in cell.figures]
            if len(values) > 1:
                mean, _, high = over_seeds(values)
                row.append(f"{mean:.3g} ± {high - mean:.2g}")
            else:
                row.append(f"{values[0]:.3g}")
        rows.append(row)
    rows.append(["real training images", "", *(f"{real[q]:.3g}" if q in real else "" for q in quantities)])
    body = markdown(["condition", "weight", *quantities], rows) + "\n\n" + note
    print(body)
    record(title, body)


def verdict(cells: Sequence[Cell], middle: int) -> str:
    """The claims of the sheet at weight 1, each with its figures."""

    def mean(start: str) -> float:
        for cell in cells:
            if cell.name.startswith(start) and cell.weight == 1:
                return sum(f["frechet"] for f in cell.figures) / len(cell.figures)
        return float("nan")

    none, labels, chance = mean("none"), mean("true"), mean("random")
    ours = mean(f"self-labels, pca, K={middle}")
    claims = {
        f"self-labels (K={middle}) below 0.6 of no guidance": (ours / none, ours < 0.6 * none),
        f"self-labels (K={middle}) at most 1.5 of true labels": (ours / labels, ours <= 1.5 * labels),
        "random ids do not gain (at least 0.9 of no guidance)": (chance / none, chance >= 0.9 * none),
    }
    lines = [
        f"- {name}: {ratio:.2f}, {'holds' if ok else 'does not hold'}" for name, (ratio, ok) in claims.items()
    ]
    return "Fréchet distance at weight 1:\n\n" + "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", choices=tuple(SCALES), default="small")
    parser.add_argument("--tail", choices=("exponential", "linear"), default="exponential")
    parser.add_argument("--part", choices=("labels", "longtail", "all"), default="all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=None, help="training steps of every arm")
    parser.add_argument("--train", type=Path, help="for full: parquet or folder of training images")
    parser.add_argument("--test", type=Path, help="for full: parquet or folder of held-out images")
    args = parser.parse_args()
    setting = SCALES[args.scale]
    if args.steps is not None:
        setting = replace(setting, budget=replace(setting.budget, steps=args.steps))
    if args.scale == "small":
        train, held_out = train_and_held_out(digits(), seed=0)
    elif args.train and args.test:
        train, held_out = open_data(str(args.train), size=32), open_data(str(args.test), size=32)
    else:
        parser.error(f"--scale {args.scale} needs --train and --test")
    judge = train_judge(
        train, test=(held_out, labels_of(held_out)), steps=setting.judge_steps, kind=setting.judge_kind,
        seed=0, progress=True,
    )  # fmt: skip
    if setting.images is not None:
        train = train.subset(torch.arange(setting.images))
    seeds, middle = range(args.seeds), setting.clusters[len(setting.clusters) // 2]
    space = (
        f"{len(train)} training images, {len(held_out)} held out; features of a classifier "
        f"({judge.accuracy or 0:.1%} accurate); {setting.budget.steps} steps of {setting.budget.batch_size}; "
        f"{setting.samples} samples a training, {args.seeds} training seeds."
    )
    if args.part in ("labels", "all"):
        yardstick = Yardstick(judge, train, held_out)
        cells = run_part(setting, train, yardstick, seeds, rare=None)
        note = f"{space}\n\n{verdict(cells, middle)}"
        report(f"self-guided, {setting.name}: labels found instead of given", cells, yardstick.real(), note)
    if args.part in ("longtail", "all"):
        tail = train.subsample_longtail(setting.ratio, kind=args.tail, seed=0)
        counts = torch.bincount(labels_of(tail))
        rarest = counts.argsort()[: max(1, len(counts) // 3)]
        rare = rarest, torch.isin(labels_of(held_out), rarest)
        yardstick = Yardstick(judge, tail, held_out)
        only = ("none", "true labels", f"self-labels, pca, K={middle}", f"self-labels, selfsup, K={middle}")
        cells = run_part(setting, tail, yardstick, seeds, rare=rare, only=only)
        note = (
            f"{space} Class sizes {counts.max()} to {counts.min()} ({len(tail)} images); the held-out images "
            f"stay balanced. Rare: the {len(rarest)} rarest classes, {counts[rarest].sum() / len(tail):.3f} "
            "of the training images; samples are taken for one by the judge."
        )
        report(f"self-guided, {setting.name}: {args.tail} long tail", cells, yardstick.real(), note)


if __name__ == "__main__":
    main()
