"""Self-Guided Diffusion Models (Hu et al. 2023, arXiv 2210.06462): do self-labels replace labels?

Arms of one network and one training budget: no condition; ids dealt at random; true labels; self-labels over
numbers of clusters and feature extractors, the denoiser's own features among them (self-guidance without a
second network). Then long-tailed training sets, beside balanced ones of as many images.

    python reproductions/self_guided.py                          # digits, two CPU cores
    python reproductions/self_guided.py --part labels --seeds 1
    python reproductions/self_guided.py --part longtail --tail linear
    python reproductions/self_guided.py --scale colour --part labels --train train.parquet --test test.parquet
    python reproductions/self_guided.py --scale full --part labels --train train.parquet --test test.parquet \
        --keep runs/full --pictures sheets --arms none "true labels" "self-labels, pca, K=100"

``colour`` is for CIFAR-10 on two CPU cores, a quarter of an hour a seed: a small transformer sees 10,000
images twice, which is far from what the data allow, and enough to tell the conditions apart. ``full`` is for
a GPU: a UNet of DDPM's size in bf16, compiled, channels-last. ``--keep`` makes any of them resumable: what is
measured is not redone, and a training that was killed goes on; ``--steps``, ``--samples`` and ``--arms`` fit
it to the time there is.

Every arm is trained once per seed; each training is sampled once per weight. Figures are means over the
training seeds with their 95 % interval, against held-out images.
"""

import argparse
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from digit_models import labels_of, over
from kept import Kept
from results import markdown, record
from self_guided_settings import NONE, OWN, RATIO, SCALES, TRUE, Setting, arms
from self_guided_tail import FEW, Cells, TailYardstick, advantage, balanced
from torch import Tensor

from windvane.annotate.features import SelfSup
from windvane.data import ImageData, digits, open_data, train_and_held_out
from windvane.denoiser import Denoiser
from windvane.judges import train_judge
from windvane.metrics import extract_features, frechet
from windvane.pictures import image_grid, save_png
from windvane.runs import Run
from windvane.tasks.self_guided import Variant, Yardstick, fit, generate


@dataclass(frozen=True)
class Bench:
    """What trains, samples and measures the arms.

    Args:
        folder: where trainings are kept, None for nowhere.
        only: the arms wanted, by name; None for all.
        pictures: a folder for a sheet of samples of every arm and weight.
    """

    setting: Setting
    seeds: Sequence[int]
    kept: Kept
    folder: Path | None = None
    only: Sequence[str] | None = None
    pictures: Path | None = None

    def cells(self, part: str, train: ImageData, yardstick: Yardstick) -> Cells:
        """Train and measure every arm for every seed."""
        found: Cells = {}
        for seed in self.seeds:
            plain: Denoiser | None = None
            for name, build in arms(self.setting, train, seed).items():
                if self.only is not None and name not in self.only:
                    continue
                begin, key = time.monotonic(), f"{part}, {seed}, {name}"
                if key not in self.kept.found:
                    if OWN in name and plain is None:
                        plain = self.fit(part, Variant(NONE), train, seed)
                    variant = replace(build(plain), name=name)
                    denoiser = self.fit(part, variant, train, seed)
                    plain = denoiser if name == NONE else plain
                    self.kept(key, partial(self.measure, part, denoiser, variant, yardstick, seed))
                for weight, figures in self.kept.found[key].items():
                    found.setdefault((name, float(weight)), []).append(figures)
                told = f"Fréchet {found[name, 1.0][-1]['frechet']:.2f} at weight 1"
                print(f"{key}: {told}, {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
        return found

    def fit(self, part: str, variant: Variant, train: ImageData, seed: int) -> Denoiser:
        """The arm's denoiser; with a folder, a training that was killed goes on."""
        run = None
        if self.folder is not None:
            name = re.sub(r"\W+", "-", f"{part} {seed} {variant.name}")
            run = Run(self.folder / name)
        return fit(
            variant, train, self.setting.budget, make=self.setting.make, seed=seed, run=run,
            progress=self.folder is not None,
        )  # fmt: skip

    def measure(
        self, part: str, denoiser: Denoiser, variant: Variant, yardstick: Yardstick, seed: int
    ) -> dict[str, dict[str, float]]:
        """Weight -> figures of the arm's samples."""
        found = {}
        for weight in (1.0,) if variant.ids is None else self.setting.weights:
            images = generate(
                denoiser, variant, n=self.setting.samples, seed=100 + seed, weight=weight,
                steps=self.setting.budget.sampling_steps, batch_size=self.setting.batch,
            )[0].float().cpu()  # fmt: skip
            found[f"{weight:g}"] = yardstick.measure(images)
            if self.pictures is not None:
                name = re.sub(r"\W+", "-", f"{part} {variant.name} {weight:g}")
                settings = {"condition": variant.name, "weight": weight, "seed": 100 + seed}
                save_png(image_grid(images[:48], columns=12), self.pictures / f"{name}-{seed}.png", settings)
        return found


class TwoEyes(Yardstick):
    """Adds the Fréchet distance in a second space: an encoder that learnt from held-out images, no labels."""

    def __init__(self, yardstick: Yardstick, train: ImageData, held_out: ImageData, steps: int) -> None:
        self.judge, self.held_out, self.reference = yardstick.judge, yardstick.held_out, yardstick.reference
        self.train = train.batch(slice(None)).flatten(1)
        self.encoder = SelfSup(steps=steps, seed=900).fit(held_out, progress=False)
        self.seen = extract_features(self.held_out, self.encoder, progress=False)

    def measure(self, images: Tensor) -> dict[str, float]:
        features = extract_features(images, self.encoder, progress=False)
        distance = frechet(features, self.seen, resamples=0, bias=False).value
        return super().measure(images) | {"frechet, encoder": distance}

    def real(self) -> dict[str, float]:
        images = self.train.reshape(-1, *self.held_out.shape[1:])
        distance = frechet(
            extract_features(images, self.encoder, progress=False), self.seen, resamples=0, bias=False
        )
        return super().real() | {"frechet, encoder": distance.value}


def report(title: str, cells: Cells, real: dict[str, float], note: str) -> None:
    """Print the table and put it into RESULTS.md."""
    quantities = list(next(iter(cells.values()))[0])
    rows = [
        [name, f"{weight:g}", *(over([f[q] for f in figures], significant=3) for q in quantities)]
        for (name, weight), figures in cells.items()
    ]
    rows.append(["real training images", "", *(f"{real[q]:.3g}" if q in real else "" for q in quantities)])
    body = markdown(["condition", "weight", *quantities], rows) + "\n\n" + note
    print(body)
    record(title, body)


def verdict(cells: Cells, setting: Setting) -> str:
    """The claims at weight 1, each with its figures; only of arms that were run."""

    def mean(name: str) -> float:
        figures = cells.get((name, 1.0))
        return sum(f["frechet"] for f in figures) / len(figures) if figures else float("nan")

    middle = setting.middle
    none, labels, chance = mean(NONE), mean(TRUE), mean(f"random ids, K={middle}")
    ours = mean(f"self-labels, pca, K={middle}")
    claims = {
        f"self-labels (K={middle}) below 0.6 of no guidance": (ours / none, ours < 0.6 * none),
        f"self-labels (K={middle}) at most 1.5 of true labels": (ours / labels, ours <= 1.5 * labels),
        "random ids do not gain (at least 0.9 of no guidance)": (chance / none, chance >= 0.9 * none),
    }
    lines = [
        f"- {name}: {ratio:.2f}, {'holds' if ok else 'does not hold'}"
        for name, (ratio, ok) in claims.items()
        if ratio == ratio  # an arm that was left out gives NaN
    ]
    return "Fréchet distance at weight 1:\n\n" + "\n".join(lines) + "\n\n" + by_seed(cells)


def by_seed(cells: Cells) -> str:
    """Each arm over no condition: the seeds differ more from each other than the arms do."""
    none = cells.get((NONE, 1.0))
    if not none:
        return ""
    lines = []
    for (name, weight), figures in cells.items():
        if name != NONE:
            ratios = [f["frechet"] / bare["frechet"] for f, bare in zip(figures, none)]
            told = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            lines.append(f"- {name}, weight {weight:g}: {sum(ratios) / len(ratios):.2f} ({told})")
    return "Over the distance without a condition, mean (seed by seed):\n\n" + "\n".join(lines)


def long_tail(
    bench: Bench, kind: str, train: ImageData, held_out: ImageData, judged: Yardstick, space: str
) -> None:
    """A long-tailed training set beside a balanced one of as many images."""
    setting, middle = bench.setting, bench.setting.middle
    wanted = (NONE, TRUE, f"self-labels, pca, K={middle}", f"self-labels, selfsup, K={middle}")
    bench = replace(bench, only=[name for name in wanted if bench.only is None or name in bench.only])
    tail = train.subsample_longtail(RATIO, kind=kind, seed=0)
    even = balanced(train, len(tail))
    at_tail, at_even = TailYardstick(judged, tail, held_out), TailYardstick(judged, even, held_out)
    cells = bench.cells(f"{kind} tail", tail, at_tail)
    beside = bench.cells(f"balanced like {kind}", even, at_even)
    counts = torch.bincount(labels_of(tail))
    note = (
        f"{space} Class sizes {counts.max()} to {counts.min()} ({len(tail)} images). Fréchet, precision and "
        f"recall against all held-out images, which are balanced; the tail's Fréchet against the same, "
        f"weighed by the classes' shares in training. Rare: the {len(at_tail.rarest)} rarest classes, "
        f"{at_tail.share:.3f} of the training images; samples are taken for one by the judge, {FEW} of them "
        f"in every comparison.\n\n"
        f"The advantage over true labels, with the tail and on {len(even)} balanced images:\n\n"
        f"{advantage(cells, beside, at_tail.real(), at_even.real())}"
    )
    report(f"self-guided, {setting.name}: {kind} long tail", cells, at_tail.real(), note)
    title = f"self-guided, {setting.name}: balanced, as few images as the {kind} tail"
    report(title, beside, at_even.real(), space)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", choices=tuple(SCALES), default="small")
    parser.add_argument("--tail", choices=("exponential", "linear"), default="exponential")
    parser.add_argument("--part", choices=("labels", "longtail", "all"), default="all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", help="by name, as in the table; all by default")
    parser.add_argument("--steps", type=int, default=None, help="training steps of every arm")
    parser.add_argument("--samples", type=int, default=None, help="samples of every arm")
    parser.add_argument("--train", type=Path, help="parquet or folder of training images, beyond the digits")
    parser.add_argument("--test", type=Path, help="parquet or folder of held-out images")
    parser.add_argument("--keep", type=Path, help="folder of what is done; what it holds is not redone")
    parser.add_argument("--pictures", type=Path, help="folder for a sheet of samples of every arm")
    args = parser.parse_args()
    setting = SCALES[args.scale]
    setting = replace(
        setting, samples=args.samples or setting.samples,
        budget=replace(setting.budget, steps=args.steps or setting.budget.steps),
    )  # fmt: skip
    if args.scale == "small":
        train, held_out = train_and_held_out(digits(), seed=0)
    elif args.train and args.test:
        train, held_out = open_data(str(args.train), size=32), open_data(str(args.test), size=32)
    else:
        parser.error(f"--scale {args.scale} needs --train and --test")
    judge = train_judge(
        train, test=(held_out, labels_of(held_out)), steps=setting.judge_steps, kind=setting.judge_kind,
        seed=0, device=setting.device, progress=True,
    ).to("cpu")  # fmt: skip
    if setting.images is not None:
        train = train.subset(torch.arange(setting.images))
    space = (
        f"{len(train)} training images, {len(held_out)} held out; features of a classifier "
        f"({judge.accuracy or 0:.1%} accurate); {setting.budget.steps} steps of {setting.budget.batch_size}; "
        f"{setting.samples} samples a training, {args.seeds} training seeds."
    )
    for folder in (args.keep, args.pictures):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    kept = Kept(args.keep and args.keep / "measured.json")
    bench = Bench(setting, range(args.seeds), kept, args.keep, args.arms, args.pictures)
    yardstick = Yardstick(judge, train, held_out)
    if args.part in ("labels", "all"):
        eyes = yardstick
        if setting.encoder_steps:
            eyes = TwoEyes(yardstick, train, held_out, setting.encoder_steps)
            space += f" The other space: an encoder of {setting.encoder_steps} steps on the held-out images."
        cells = bench.cells("labels", train, eyes)
        note = f"{space}\n\n{verdict(cells, setting)}"
        report(f"self-guided, {setting.name}: labels found instead of given", cells, eyes.real(), note)
    if args.part in ("longtail", "all"):
        long_tail(bench, args.tail, train, held_out, yardstick, space)


if __name__ == "__main__":
    main()
