"""PFGM++ (Xu et al. 2023, arXiv 2302.04265): do heavier tails forgive noise injected while sampling?

One network and one training budget on the 8x8 digits, with Student-t noise of several degrees of freedom and
with Gaussian noise (EDM). Sampled by Heun in 18 steps, with noise alpha sigma eps added before every step,
and in 6 steps. Measured: Fréchet distance to held-out digits in the features of a classifier.

    python reproductions/pfgmpp.py                    # two CPU cores, some minutes
    python reproductions/pfgmpp.py --dofs 8 128 inf --steps 1500
"""

import argparse
import math
from functools import partial

import torch
from results import markdown, record
from torch import Tensor

from windvane.conditions import Condition
from windvane.data import ImageData, digits, train_and_held_out
from windvane.denoiser import Denoiser, NetworkDenoiser
from windvane.metrics import Judge, extract_features, frechet, train_judge
from windvane.networks import ResidualMLP
from windvane.process import EDM, PFGMPP, Process
from windvane.randomness import noise_for, scoped_seed
from windvane.samplers import Heun, StepInfo, sample
from windvane.training import train

RANGE = {"sigma_max": 20.0, "sigma_min": 0.01}
ALPHAS = (0.0, 0.1, 0.2, 0.3)


def labels_of(data: ImageData) -> Tensor:
    if data.labels is None:
        raise SystemExit("the digits come with labels")
    return data.labels


def fit(process: Process, data: ImageData, steps: int, seed: int) -> Denoiser:
    """A class-conditional denoiser with EDM's preconditioning; the law of the noise is the process's."""
    with scoped_seed(seed):
        network = ResidualMLP.build(shape=(1, 8, 8), vector=10, width=128, blocks=2)
    denoiser = NetworkDenoiser(network, process, parametrisation="edm", shape=(1, 8, 8))
    found = train(
        denoiser, data, conditions=Condition.vector(labels_of(data)), steps=steps, batch_size=128, lr=2e-3,
        warmup=100, ema_decay=0.998, seed=seed, progress=False, log_every=steps,
    )  # fmt: skip
    return found.ema


def with_noise(process: Process, alpha: float, info: StepInfo) -> Tensor:
    """x + alpha sigma eps before a step, each sample by its own seed."""
    eps = noise_for(info.seeds, 10_000 + info.index, info.x.shape[1:])
    return info.x + alpha * float(process.sigma(info.t)) * eps


def draw(denoiser: Denoiser, n: int, steps: int, alpha: float) -> Tensor:
    before = partial(with_noise, denoiser.process, alpha) if alpha else None
    cond = Condition.vector(torch.arange(n) % 10)
    return sample(
        denoiser, seeds=1, n=n, cond=cond, sampler=Heun(), steps=steps, before_step=before, progress=False
    ).x


def quality(images: Tensor, judge: Judge, reference: Tensor) -> float:
    features = extract_features(images.clamp(-1, 1), judge, progress=False)
    return frechet(features, reference, resamples=0, bias=False).value


def verdict(found: dict[float, list[float]]) -> str:
    """The sheet's bars: Student-t against Gaussian noise."""
    gauss, small = found[math.inf], found[min(found)]
    ratio = small[3] / gauss[3]
    lines = [
        f"- at alpha = 0.3, dof {min(found):g} at most half of Gaussian noise: {ratio:.2f}, "
        + ("holds" if ratio <= 0.5 else "does not hold")
    ]
    for dof in sorted(d for d in found if 8 <= d <= 128):
        plain = found[dof][0] / gauss[0]
        lines.append(
            f"- at alpha = 0, dof {dof:g} at most 10 % worse than Gaussian noise: {plain:.2f}, "
            + ("holds" if plain <= 1.1 else "does not hold")
        )
    lines.append(f"- in 6 steps (no bar): {small[-1] / gauss[-1]:.2f} of Gaussian noise's distance")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dofs", type=float, nargs="+", default=[8, 32, 128, 2048, math.inf])
    parser.add_argument("--steps", type=int, default=2500, help="training steps of every model")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if math.inf not in args.dofs:
        parser.error("--dofs needs inf, the Gaussian noise to compare with")
    data, held_out = train_and_held_out(digits(), seed=0)
    judge = train_judge(data, test=(held_out, labels_of(held_out)), seed=0)
    reference = extract_features(held_out.batch(slice(None)), judge, progress=False)
    found: dict[float, list[float]] = {}
    for dof in args.dofs:
        process: Process = EDM(**RANGE) if math.isinf(dof) else PFGMPP(dof=dof, **RANGE)
        denoiser = fit(process, data, args.steps, args.seed)
        settings = [(18, alpha) for alpha in ALPHAS] + [(6, 0.0)]
        found[dof] = [quality(draw(denoiser, args.samples, *s), judge, reference) for s in settings]
        print(f"dof {dof:g}: " + " ".join(f"{value:.2f}" for value in found[dof]), flush=True)
    rows = [[f"{dof:g}", *(f"{value:.2f}" for value in values)] for dof, values in found.items()]
    heads = ["dof", *(f"alpha = {alpha:g}" for alpha in ALPHAS), "6 steps"]
    body = (
        f"{markdown(heads, rows)}\n\nFréchet distance in the features of a classifier, {args.samples} "
        f"samples, {args.steps} training steps of 128, one seed.\n\n{verdict(found)}"
    )
    print(body)
    record("pfgmpp: noise injected while sampling, digits", body)


if __name__ == "__main__":
    main()
