"""PPAP (Go et al. 2023, arXiv 2212.05973): an ordinary classifier becomes a noise-aware guide without labels.

On the 8x8 digits: a small denoiser used without classes, an MLP classifier trained on clean images only as
the guide, 3,000 of the denoiser's own samples, and 1,500 distillation steps in all. Compared: the guide as it
is, on x_t and on D with the gradient through the denoiser; one student for all noise; five experts by noise
range, wholly fine-tuned and with low-rank adapters. An independent classifier judges.

    python reproductions/ppap.py                    # two CPU cores, some minutes
    python reproductions/ppap.py --seeds 0 1 2
"""

import argparse

import torch
from digit_guides import PROCESS, Setting, bar, fit_clean_classifier, fit_denoiser, setting
from digit_models import over
from results import experiment, markdown, record
from torch import Tensor, nn

from windvane.denoiser import Denoiser
from windvane.energies import ClassLogProb
from windvane.guidance import GradientGuidance, Guide
from windvane.samplers import DDIM, sample
from windvane.training.noise_aware import Experts, LowRank, adapt_guide

STEPS, SCALE = 25, 3.0
#: Nothing of the class is in x_t above t = 0.98, and sigma^2 / alpha explodes there.
HIGHEST = float(PROCESS.noise_level(torch.tensor(0.98, dtype=torch.float64)))


def draw(denoiser: Denoiser, n: int, seed: int, guide: Guide | None = None) -> Tensor:
    sampler = DDIM() if guide is None else GradientGuidance((guide,)).sampler(DDIM())
    return sample(
        denoiser, seeds=seed, n=n, sampler=sampler, steps=STEPS, clip=1.0, progress=False
    ).x  # fmt: skip


def guided(classifier: nn.Module, wanted: Tensor, *, where: str, timed: bool) -> Guide:
    energy = ClassLogProb(classifier, wanted, timed=timed)
    return Guide(energy, SCALE, where=where, push="score", window=(0.0, HIGHEST))


def students(guide: nn.Module, own: Tensor, args: argparse.Namespace, seed: int) -> dict[str, Experts]:
    """The guides made of the clean one, all with the same number of steps and rows."""

    def make(experts: int, adapter: LowRank | None, lr: float) -> Experts:
        return adapt_guide(
            guide, own, PROCESS, experts=experts, steps=args.steps, adapter=adapter, lr=lr,
            batch_size=args.batch, seed=seed, progress=False,
        )  # fmt: skip

    low = LowRank(rank=args.rank, alpha=args.rank / 2)
    return {
        "one student, all noise": make(1, None, args.lr),
        "5 experts": make(5, None, args.lr),
        f"5 experts, adapters of rank {args.rank}": make(5, low, args.adapter_lr),
    }


def measure(
    args: argparse.Namespace, seed: int, where: Setting, denoiser: Denoiser
) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """Accuracy and Fréchet distance of every guide, and the share of parameters trained."""
    guide = fit_clean_classifier(where.guides, seed)
    own = draw(denoiser, args.own, 10_000 + seed)
    made = students(guide, own, args, seed)
    wanted = torch.arange(args.samples) % 10
    rows: dict[str, Guide | None] = {
        "unguided": None,
        "off the shelf on x_t": guided(guide, wanted, where="x_t", timed=False),
        "off the shelf through D": guided(guide, wanted, where="x0", timed=False),
        **{name: guided(one, wanted, where="x_t", timed=True) for name, one in made.items()},
    }
    found = {}
    for name, one in rows.items():
        x = draw(denoiser, args.samples, 50_000 * (seed + 1), one)
        found[name] = (where.accuracy(x, wanted), where.distance(x))
        print(f"seed {seed}, {name}: {found[name][0]:.3f} {found[name][1]:.2f}", flush=True)
    return found, {name: one.share for name, one in made.items()}


def verdict(
    mean: dict[str, tuple[float, float]], each: list[dict[str, tuple[float, float]]], adapters: str
) -> str:
    """The bars; they are of experts trained whole, in 1500 steps, and adapters are held to them, too."""
    plain, one = mean["off the shelf on x_t"], mean["one student, all noise"]
    lines = []
    for name in ("5 experts", adapters):
        right, far = mean[name]
        seeds = ", ".join(f"{found[name][1] / found['off the shelf on x_t'][1]:.2f}" for found in each)
        lines += [
            bar(
                f"{name} at least 0.15 more accurate than the guide off the shelf on x_t",
                f"{right - plain[0]:+.3f}",
                right - plain[0] >= 0.15,
            ),
            bar(
                f"{name} at most a third of its Fréchet distance",
                f"{far / plain[1]:.2f} (by seed {seeds})",
                3 * far <= plain[1],
            ),
            bar(
                f"{name} at least 0.03 more accurate than one student of the same budget",
                f"{right - one[0]:+.3f}",
                right - one[0] >= 0.03,
            ),
        ]
    return "\n".join(lines)


def main() -> None:
    parser = experiment(__doc__, seeds=[0, 1, 2])
    parser.add_argument("--training", type=int, default=1500, help="training steps of the denoiser")
    parser.add_argument("--steps", type=int, default=1500, help="distillation steps of every row, in all")
    parser.add_argument("--own", type=int, default=3000, help="samples of the denoiser to learn from")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--adapter-lr", type=float, default=5e-3)
    parser.add_argument("--rank", type=int, default=16)
    args = parser.parse_args()
    each, denoiser = [], None
    shares: dict[str, float] = {}
    for seed in args.seeds:
        where = setting(seed)
        denoiser = denoiser or fit_denoiser(where.data, args.training, args.seeds[0])
        found, shares = measure(args, seed, where, denoiser)
        each.append(found)
    prototype = {
        "off the shelf on x_t": "0.71 / 100",
        "off the shelf through D": "0.93 / 73",
        "one student, all noise": "0.92 / 17.4",
        "5 experts": "0.98 / 17.6",
    }
    names = list(each[0])
    rows = [
        [
            name,
            f"{shares[name]:.0%}" if name in shares else "",
            over([one[name][0] for one in each], 3),
            over([one[name][1] for one in each], 1),
            prototype.get(name, ""),
        ]
        for name in names
    ]
    mean: dict[str, tuple[float, float]] = {
        name: tuple(sum(one[name][k] for one in each) / len(each) for k in (0, 1))  # type: ignore[misc]
        for name in names
    }
    heads = ["guide", "trained", "accuracy", "Fréchet", "prototype (other features): accuracy / Fréchet"]
    body = (
        f"{markdown(heads, rows)}\n\n{STEPS} DDIM steps, scale {SCALE:g}, {args.samples} samples, {args.own} "
        f"of the denoiser's own to learn from, {args.steps} distillation steps of {args.batch} a row. Mean "
        f"and 95 % interval over seeds {args.seeds}: each has its own guide, judge, students and samples; "
        f"one denoiser.\n\n"
        f"{verdict(mean, each, names[-1])}\n\n"
        "The bars were set for experts trained whole; adapters train a part of the numbers as long."
    )
    print(body)
    record("ppap: a clean classifier made noise-aware without labels, digits", body)


if __name__ == "__main__":
    main()
