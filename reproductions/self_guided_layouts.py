"""Training and sampling on self-made boxes and masks (Self-Guided Diffusion Models, 2.2 b and c, 2.3).

One digit somewhere on a 16 x 16 canvas with light noise. Boxes by LOST and masks by k-means on dense features
learnt on the scenes; image-level clusters beside the boxes; no label is read. Arms of one network and one
budget: no condition, clusters, boxes, boxes dealt to other images, masks, masks dealt to other images. Asked
for: does the ink lie where it was asked for, and what do layouts do to the Fréchet distance?

    python reproductions/self_guided_layouts.py                     # three training seeds, some 25 minutes
    python reproductions/self_guided_layouts.py --seeds 1 --arms none boxes

The labels of the digits serve the judge, in whose features distances are taken, and nothing else. The budget
was chosen on scenes of seed 1 with their true boxes; these are scenes of seed 21.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from results import markdown, record
from torch import Tensor

from windvane.annotate import annotate, find_boxes, find_masks, shuffled_regions
from windvane.annotate.dense import Restoration
from windvane.annotate.regions.boxes import corloc
from windvane.annotate.regions.masks import PatchClusters
from windvane.conditions import Condition
from windvane.data import digits, train_and_held_out
from windvane.data.scenes import Scenes, scenes
from windvane.denoiser import Denoiser, NetworkDenoiser
from windvane.guidance import ClassifierFree
from windvane.judges import train_judge
from windvane.metrics import over_seeds
from windvane.networks import ConditionedDiT
from windvane.process import VPCosine
from windvane.randomness import derive_seed, generator, scoped_seed
from windvane.samplers import DDIM, sample
from windvane.tasks.self_guided import Yardstick
from windvane.training import train

SIZE, SCENE_SEED, INK = 16, 21, 0.25
BAR = 0.2


@dataclass(frozen=True)
class Arm:
    """A condition per training scene, the network's inputs for it, and the weights to sample at."""

    name: str
    cond: Condition | None
    vector: int | None
    layout: int | None
    weights: tuple[float, ...] = (1.0,)


def ink(images: Tensor) -> Tensor:
    """How far pixels lie above the background's noise, ``(n, H, W)``."""
    return ((images[:, 0] + 1) / 2 - INK).clamp(min=0)


def share_inside(images: Tensor, boxes: Tensor) -> float:
    """Mean share of an image's ink that lies inside its box, given as maps ``(n, H, W)``; no ink counts 0."""
    found = ink(images)
    return float(((found * boxes).sum((1, 2)) / found.sum((1, 2)).clamp(min=1e-6)).mean())


def overlap(images: Tensor, objects: Tensor) -> float:
    """Mean IoU of the pixels with ink and of the mask asked for, ``(n, H, W)`` bool."""
    inside = ink(images) > 0
    return float(((inside & objects).sum((1, 2)) / (inside | objects).sum((1, 2)).clamp(min=1)).mean())


def arms_of(made: Scenes, k: int) -> tuple[dict[str, Arm], Tensor, Tensor]:
    """Every arm, and the box maps and object masks ``(n, H, W)`` that were found."""
    learnt = Restoration(seed=0).fit(made.images, progress=False)
    clusters = annotate(made.images, features="selfsup", k=k, seed=0, progress=False)
    boxes = find_boxes(made.images, learnt, labels=clusters, progress=False)
    segmenter = PatchClusters(learnt, 2, seed=0, normalise=True, lift=0.3).fit(made.images, progress=False)
    masks = find_masks(made.images, segmenter, progress=False)
    print(f"CorLoc {corloc(boxes.boxes, made.boxes):.2f} against the true boxes", flush=True)
    # What is rarer than the background is the object: no label says so.
    rarer = int(torch.bincount(masks.masks.flatten().long(), minlength=2).argmin())
    other, dealt = shuffled_regions(boxes, seed=0), shuffled_regions(masks, seed=0)
    arms = [
        Arm("none", None, None, None),
        Arm("clusters", clusters.condition(), k, None, (1.0, 2.0)),
        Arm("boxes", boxes.condition(), k, 1, (1.0, 2.0)),
        Arm("boxes dealt to other images", other.condition(), k, 1),
        Arm("masks", masks.condition(), 2, 2, (1.0, 2.0)),
        Arm("masks dealt to other images", dealt.condition(), 2, 2),
    ]
    layout = boxes.condition().signals["layout"][:, 0]
    return {arm.name: arm for arm in arms}, layout, masks.masks == rarer


def fit(arm: Arm, made: Scenes, *, steps: int, seed: int) -> Denoiser:
    """A small transformer trained on the arm's condition."""
    shape = (1, SIZE, SIZE)
    with scoped_seed(derive_seed(seed, 1)):
        network = ConditionedDiT.build(
            shape=shape, vector=arm.vector, layout=arm.layout, width=96, depth=4, heads=4, patch=4
        )
    return train(
        NetworkDenoiser(network, VPCosine(), parametrisation="v", shape=shape),
        made.images,
        conditions=arm.cond,
        steps=steps,
        batch_size=64,
        lr=2e-3,
        warmup=50,
        ema_decay=0.995,
        seed=seed,
        progress=False,
    ).ema


def drawn_rows(n: int, total: int, seed: int) -> Tensor:
    """Whose conditions the samples take: rows of the training set, without replacement."""
    return torch.randperm(total, generator=generator(seed, 77))[:n]


def measure(
    arm: Arm, denoiser: Denoiser, truth: tuple[Tensor, Tensor], yardstick: Yardstick, *, n: int, seed: int
) -> dict[float, dict[str, float]]:
    """Everything measured of the arm's samples, by weight."""
    boxes, objects = truth
    rows = drawn_rows(n, len(boxes), seed)
    # Dealt conditions were dealt by the same permutation, so what was asked for is read from the condition.
    if arm.cond is not None and arm.layout == 1:
        boxes = arm.cond.signals["layout"][:, 0]
    if arm.cond is not None and arm.layout == 2:
        layout = arm.cond.signals["layout"]
        objects = layout[:, int(layout.mean((0, 2, 3)).argmin())] > 0
    found = {}
    for weight in arm.weights:
        made = sample(
            denoiser if arm.cond is None else ClassifierFree(denoiser, weight),
            seeds=derive_seed(seed, 5) >> 2,
            n=n,
            cond=None if arm.cond is None else arm.cond.index(rows),
            sampler=DDIM(),
            steps=30,
            clip=1.0,
            batch_size=200,
            progress=False,
        ).x
        found[weight] = {
            **yardstick.measure(made),
            "inside": share_inside(made, boxes[rows]),
            "overlap": overlap(made, objects[rows]),
        }
    return found


def report(
    found: dict[tuple[str, float], list[dict[str, float]]], real: dict[str, float], about: str
) -> None:
    """Write the table of all seeds there are."""
    rows = []
    for (name, weight), values in found.items():
        cells = [name, f"{weight:g}"]
        for quantity in ("frechet", "precision", "recall", "nearest", "inside", "overlap"):
            numbers = [value[quantity] for value in values]
            if len(numbers) == 1:
                cells.append(f"{numbers[0]:.2f}")
                continue
            mean = over_seeds(numbers)
            cells.append(f"{mean.value:.2f} ± {mean.high - mean.value:.2f}")
        rows.append(cells)
    rows.append(["real training scenes", "", *(f"{real[q]:.2f}" for q in real)])
    heads = ["condition", "w", "Fréchet", "precision", "recall", "nearest", "ink in the box", "IoU with mask"]
    body = f"{about}\n\n{markdown(heads, rows)}"
    for kind, quantity in (("boxes", "inside"), ("masks", "overlap")):
        pair = [found.get((name, 1.0)) for name in (kind, f"{kind} dealt to other images")]
        if pair[0] and pair[1]:
            own, other = (sum(value[quantity] for value in values) / len(values) for values in pair if values)
            held = "holds" if own - other >= BAR else "does not hold"
            body += f"\n\n{kind}: {own:.3f} against {other:.3f} of the dealt control, a gain of "
            body += f"{own - other:.3f}; the bar of {BAR} {held}."
    record("Self-guided layouts: training on boxes and masks", body)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of training and sampling")
    parser.add_argument("--arms", nargs="+", help="by default all")
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--samples", type=int, default=600)
    parser.add_argument("--clusters", type=int, default=30)
    parser.add_argument(
        "--state", type=Path, help="JSON file of what is measured; what it holds is not redone"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    training, held_out = train_and_held_out(digits(), 1.0 / 3, seed=0)
    made = scenes(training, args.scenes, size=SIZE, seed=SCENE_SEED)
    reference = scenes(held_out, 1000, size=SIZE, seed=SCENE_SEED + 1)
    label = torch.cat([labels[:1] for labels in made.labels])
    judge = train_judge(made.images, label, seed=0, steps=400, progress=False)
    yardstick = Yardstick(judge, made.images, reference.images)
    arms, boxes, objects = arms_of(made, args.clusters)
    print(
        f"annotated after {time.process_time() - started:.0f} s of CPU time; judge {judge.accuracy}",
        flush=True,
    )
    chosen: Sequence[str] = args.arms or list(arms)
    about = (
        f"{args.scenes} scenes of {SIZE} x {SIZE}, one digit each; {args.steps} steps of 64, DDIM-30, "
        f"{args.samples} samples; Fréchet distance in the features of a judge of the digits, against 1000 "
        "scenes of held-out digits. Mean and 95 % interval over training seeds."
    )
    found: dict[tuple[str, float], list[dict[str, float]]] = {}
    kept = json.loads(args.state.read_text()) if args.state and args.state.exists() else {}
    for seed in args.seeds:
        for name in chosen:
            measured = kept.get(f"{seed} {name}")
            if measured is None:
                denoiser = fit(arms[name], made, steps=args.steps, seed=seed)
                measured = measure(
                    arms[name], denoiser, (boxes, objects), yardstick, n=args.samples, seed=seed
                )
                kept[f"{seed} {name}"] = measured
                if args.state:
                    args.state.write_text(json.dumps(kept))
            for weight, values in ((float(key), value) for key, value in measured.items()):
                found.setdefault((name, weight), []).append(values)
                told = ", ".join(f"{key} {value:.3f}" for key, value in values.items())
                print(
                    f"seed {seed}, {name}, w={weight:g}: {told} [{time.process_time() - started:.0f} s]",
                    flush=True,
                )
        report(found, yardstick.real(), about)


if __name__ == "__main__":
    main()
