"""T-Stitch (Pan et al. 2024, arXiv 2402.14167): a small denoiser takes the noisiest steps.

Two class-conditional networks on the 8x8 digits, widths 32 and 160. DDIM in 20 steps on EDM's grid; Fréchet
distance to held-out digits in the features of a classifier, over the share r of steps that the small one
takes; the other orders at r = 0.5; the likeness of the two predictions along the way; and the large model
alone with fewer steps, which costs the same.

    python reproductions/t_stitch.py                    # two CPU cores, some minutes
    python reproductions/t_stitch.py --steps 1500
"""

import argparse
from dataclasses import dataclass

import torch
from results import markdown, record
from torch import Tensor

from windvane.compress import row_flops, similarity, stitched
from windvane.conditions import Condition
from windvane.data import ImageData, digits, train_and_held_out
from windvane.denoiser import Denoiser, NetworkDenoiser
from windvane.grids import edm
from windvane.guidance import Routed
from windvane.metrics import Judge, extract_features, frechet, train_judge
from windvane.networks import ResidualMLP
from windvane.process import EDM, Process
from windvane.randomness import scoped_seed
from windvane.samplers import DDIM, sample
from windvane.stepping import current_step
from windvane.training import train

PROCESS = EDM(sigma_max=40.0, sigma_min=0.02)
STEPS = 20


def labels_of(data: ImageData) -> Tensor:
    if data.labels is None:
        raise SystemExit("the digits come with labels")
    return data.labels


@dataclass(frozen=True)
class Interleaved:
    """The route that takes two models in turn, one step each: an order that the paper rejects."""

    models: int = 2

    def __call__(self, process: Process, times: Tensor) -> Tensor:
        step = current_step()
        return torch.full((len(times),), 0 if step is None else step[0] % 2, dtype=torch.int64)


def fit(data: ImageData, width: int, blocks: int, steps: int) -> Denoiser:
    with scoped_seed(width):
        network = ResidualMLP.build(shape=(1, 8, 8), vector=10, width=width, blocks=blocks)
    denoiser = NetworkDenoiser(network, PROCESS, parametrisation="edm", shape=(1, 8, 8))
    found = train(
        denoiser, data, conditions=Condition.vector(labels_of(data)), steps=steps, batch_size=128, lr=2e-3,
        warmup=100, ema_decay=0.998, seed=0, progress=False, log_every=steps,
    )  # fmt: skip
    return found.ema


def measure(denoiser: Denoiser, judge: Judge, reference: Tensor, n: int, steps: int) -> tuple[float, float]:
    """Fréchet distance, and the share of samples that the judge takes for the digit asked for."""
    wanted = torch.arange(n) % 10
    x = sample(
        denoiser, seeds=1, n=n, cond=Condition.vector(wanted), sampler=DDIM(), steps=steps, grid=edm,
        progress=False,
    ).x.clamp(-1, 1)  # fmt: skip
    features = extract_features(x, judge, progress=False)
    with torch.no_grad():
        right = float((judge.classify(x).argmax(1) == wanted).double().mean())
    return frechet(features, reference, resamples=0, bias=False).value, right


def likeness(small: Denoiser, large: Denoiser) -> list[float]:
    """Cosine of the predicted noises along the large model's path."""
    cond = Condition.vector(torch.arange(200) % 10)
    path = sample(
        large, seeds=1, n=200, cond=cond, sampler=DDIM(), steps=STEPS, grid=edm, record=True, progress=False
    )
    if path.trajectory is None:
        raise SystemExit("the run was recorded")
    with torch.no_grad():
        return similarity(small, large, path.trajectory.x[:-1], path.times[:-1], cond).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=5000, help="training steps of both models")
    parser.add_argument("--samples", type=int, default=2000)
    args = parser.parse_args()
    data, held_out = train_and_held_out(digits(), seed=0)
    judge = train_judge(data, test=(held_out, labels_of(held_out)), seed=0)
    reference = extract_features(held_out.batch(slice(None)), judge, progress=False)
    small, large = fit(data, 32, 1, args.steps), fit(data, 160, 3, args.steps)
    one = Condition.vector(torch.tensor([0]))
    costs = [row_flops(model, one) for model in (small, large)]
    found, rows = {}, []
    for tenths in range(11):
        r = tenths / 10
        found[tenths] = measure(stitched([small, large], [r, 1 - r]), judge, reference, args.samples, STEPS)
        share = (r * costs[0] + (1 - r) * costs[1]) / costs[1]
        fewer = max(1, round(STEPS * share))
        alone = measure(large, judge, reference, args.samples, fewer)
        rows.append([
            f"{r:g}", f"{share:.2f}", f"{found[tenths][0]:.2f}", f"{found[tenths][1]:.3f}", f"{fewer}",
            f"{alone[0]:.2f}",
        ])  # fmt: skip
        print(" ".join(rows[-1]), flush=True)
    orders = {
        "small to large": found[5][0],
        "interleaved": measure(Routed([small, large], Interleaved()), judge, reference, args.samples, STEPS)[
            0
        ],
        "large to small": measure(
            stitched([large, small], [0.5, 0.5]), judge, reference, args.samples, STEPS
        )[0],
    }
    closed = (found[10][0] - found[4][0]) / (found[10][0] - found[0][0])
    best = min(orders, key=lambda name: orders[name])
    cosines = likeness(small, large)
    heads = ["r", "cost", "Fréchet", "accuracy", "steps of the large model at this cost", "its Fréchet"]
    body = (
        f"{markdown(heads, rows)}\n\nSmall {costs[0]:,} and large {costs[1]:,} operations a call; "
        f"{args.samples} samples, {args.steps} training steps of 128, one seed.\n\n"
        f"- r = 0.4 closes 90 % of the gap from small to large: {closed:.0%}, "
        f"{'holds' if closed >= 0.9 else 'does not hold'}\n"
        f"- small to large is the best order at r = 0.5: "
        + ", ".join(f"{name} {value:.2f}" for name, value in orders.items())
        + f": {'holds' if best == 'small to large' else 'does not hold'}\n"
        f"- the cosine of the predicted noises falls along the trajectory: {cosines[0]:.3f} at first, "
        f"{cosines[9]:.3f} in the middle, {cosines[-1]:.3f} at the end: "
        f"{'holds' if cosines[0] > cosines[9] > cosines[-1] else 'does not hold'}"
    )
    print(body)
    record("t-stitch: quality against cost, digits", body)


if __name__ == "__main__":
    main()
