"""T-Stitch (Pan et al. 2024, arXiv 2402.14167): a small denoiser takes the noisiest steps.

Two class-conditional networks on the 8x8 digits, widths 32 and 160. DDIM in 20 steps on EDM's grid; Fréchet
distance to held-out digits in the features of a classifier, over the share r of steps that the small one
takes; the other orders at r = 0.5; the likeness of the two predictions along the way; and the large model
alone with fewer steps, which costs the same.

    python reproductions/t_stitch.py                    # three seeds, a CPU core, some minutes each
    python reproductions/t_stitch.py --seeds 0 --keep runs/t_stitch.json     # in parts: then --seeds 0 1, ...
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from digit_models import bar, labels_of, mean, over
from kept import Kept
from results import markdown, record
from torch import Tensor

from windvane.compress import row_flops, similarity, stitched
from windvane.conditions import Condition
from windvane.current_step import current_step
from windvane.data import ImageData, digits, train_and_held_out
from windvane.denoiser import Denoiser, NetworkDenoiser
from windvane.grids import edm
from windvane.guidance import Routed
from windvane.judges import Judge, train_judge
from windvane.metrics import extract_features, frechet
from windvane.networks import ResidualMLP
from windvane.process import EDM, Process
from windvane.randomness import scoped_seed
from windvane.samplers import DDIM, sample
from windvane.training import train

PROCESS = EDM(sigma_max=40.0, sigma_min=0.02)
STEPS = 20


@dataclass(frozen=True)
class Interleaved:
    """The route that takes two models in turn, one step each: an order that the paper rejects."""

    models: int = 2

    def __call__(self, process: Process, times: Tensor) -> Tensor:
        step = current_step()
        return torch.full((len(times),), 0 if step is None else step[0] % 2, dtype=torch.int64)


def fit(data: ImageData, width: int, blocks: int, steps: int, seed: int) -> Denoiser:
    with scoped_seed(1000 * seed + width):
        network = ResidualMLP.build(shape=(1, 8, 8), vector=10, width=width, blocks=blocks)
    denoiser = NetworkDenoiser(network, PROCESS, parametrisation="edm", shape=(1, 8, 8))
    found = train(
        denoiser, data, conditions=Condition.vector(labels_of(data)), steps=steps, batch_size=128, lr=2e-3,
        warmup=100, ema_decay=0.998, seed=seed, progress=False, log_every=steps,
    )  # fmt: skip
    return found.ema


def measure(
    denoiser: Denoiser, judge: Judge, reference: Tensor, n: int, steps: int, seed: int
) -> tuple[float, float]:
    """Fréchet distance, and the share of samples that the judge takes for the digit asked for."""
    wanted = torch.arange(n) % 10
    x = sample(
        denoiser, seeds=100_000 * seed + 1, n=n, cond=Condition.vector(wanted), sampler=DDIM(), steps=steps,
        grid=edm, progress=False,
    ).x.clamp(-1, 1)  # fmt: skip
    features = extract_features(x, judge, progress=False)
    with torch.no_grad():
        right = float((judge.classify(x).argmax(1) == wanted).double().mean())
    return frechet(features, reference, resamples=0, bias=False).value, right


def likeness(small: Denoiser, large: Denoiser, seed: int) -> list[float]:
    """Cosine of the predicted noises along the large model's path."""
    cond = Condition.vector(torch.arange(200) % 10)
    path = sample(
        large, seeds=100_000 * seed + 1, n=200, cond=cond, sampler=DDIM(), steps=STEPS, grid=edm, record=True,
        progress=False,
    )  # fmt: skip
    if path.trajectory is None:
        raise SystemExit("the run was recorded")
    with torch.no_grad():
        return similarity(small, large, path.trajectory.x[:-1], path.times[:-1], cond).tolist()


def one_seed(data: ImageData, held_out: ImageData, seed: int, steps: int, n: int) -> dict[str, Any]:
    """Everything that one training of both models measures."""
    judge = train_judge(data, test=(held_out, labels_of(held_out)), seed=0)
    reference = extract_features(held_out.batch(slice(None)), judge, progress=False)
    small, large = fit(data, 32, 1, steps, seed), fit(data, 160, 3, steps, seed)
    one = Condition.vector(torch.tensor([0]))
    costs = [row_flops(model, one) for model in (small, large)]

    def value(denoiser: Denoiser, sampling_steps: int = STEPS) -> tuple[float, float]:
        return measure(denoiser, judge, reference, n, sampling_steps, seed)

    shares = [value(stitched([small, large], [r / 10, 1 - r / 10])) for r in range(11)]
    orders = {
        "small to large": shares[5][0],
        "interleaved": value(Routed([small, large], Interleaved()))[0],
        "large to small": value(stitched([large, small], [0.5, 0.5]))[0],
    }
    alone = {steps: value(large, steps)[0] for steps in sorted({fewer(costs, r) for r in range(11)})}
    return {
        "costs": costs, "shares": shares, "orders": orders, "alone": {str(k): v for k, v in alone.items()},
        "cosines": likeness(small, large, seed),
    }  # fmt: skip


def share_of(costs: Sequence[float], tenths: int) -> float:
    """The mean cost of a step over the large model's."""
    r = tenths / 10
    return (r * costs[0] + (1 - r) * costs[1]) / costs[1]


def fewer(costs: Sequence[float], tenths: int) -> int:
    """The steps of the large model alone at the cost of a stitching."""
    return max(1, round(STEPS * share_of(costs, tenths)))


def verdict(found: Sequence[dict[str, Any]]) -> str:
    """The bars over the seeds."""
    closed = [
        (f["shares"][10][0] - f["shares"][4][0]) / (f["shares"][10][0] - f["shares"][0][0]) for f in found
    ]
    orders = {name: [f["orders"][name] for f in found] for name in found[0]["orders"]}
    best = all(min(f["orders"], key=f["orders"].get) == "small to large" for f in found)
    along = [[f["cosines"][k] for f in found] for k in (0, STEPS // 2 - 1, -1)]
    falls = all(f["cosines"][0] > f["cosines"][STEPS // 2 - 1] > f["cosines"][-1] for f in found)
    return "\n".join([
        f"- r = 0.4 closes at least 90 % of the gap from small to large, at about 65 % of the cost: "
        f"{mean(closed):.0%} (by seed {', '.join(f'{c:.0%}' for c in closed)}) at "
        f"{share_of(found[0]['costs'], 4):.0%} of the cost: {bar(min(closed) >= 0.9)}",
        "- small to large is the best order at r = 0.5: "
        + ", ".join(f"{name} {over(values)}" for name, values in orders.items()) + f": {bar(best)}",
        "- the cosine of the predicted noises falls along the trajectory: "
        f"{over(along[0], 3)} at first, {over(along[1], 3)} in the middle, {over(along[2], 3)} at the end: "
        f"{bar(falls)}",
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=5000, help="training steps of both models")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of training and sampling")
    parser.add_argument("--keep", type=Path, help="JSON file of figures; what is in it is not run again")
    args = parser.parse_args()
    data, held_out = train_and_held_out(digits(), seed=0)
    kept, found = Kept(args.keep), []
    for seed in args.seeds:
        make = partial(one_seed, data, held_out, seed, args.steps, args.samples)
        found.append(kept(f"seed {seed}, {args.steps} steps, {args.samples} samples", make))
        print(f"seed {seed}: " + " ".join(f"{value:.2f}" for value, _ in found[-1]["shares"]), flush=True)
    costs, rows = found[0]["costs"], []
    for tenths in range(11):
        alone = fewer(costs, tenths)
        rows.append([
            f"{tenths / 10:g}", f"{share_of(costs, tenths):.2f}",
            over([f["shares"][tenths][0] for f in found]),
            over([f["shares"][tenths][1] for f in found], 3), f"{alone}",
            over([f["alone"][str(alone)] for f in found]),
        ])  # fmt: skip
    heads = ["r", "cost", "Fréchet", "accuracy", "steps of the large model at this cost", "its Fréchet"]
    body = (
        f"{markdown(heads, rows)}\n\nSmall {costs[0]:,} and large {costs[1]:,} operations a call; "
        f"{args.samples} samples, {args.steps} training steps of 128; mean and 95 % interval over "
        f"{len(found)} trainings.\n\n{verdict(found)}"
    )
    print(body)
    record("t-stitch: quality against cost, digits", body)


if __name__ == "__main__":
    main()
