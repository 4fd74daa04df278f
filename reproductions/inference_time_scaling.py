"""Search over noises (Ma et al. 2025, arXiv 2501.09732) on an exact denoiser of the digits.

Three Gaussians with full covariances for each class of the 8x8 digits, in closed form. 10 steps of DDIM,
sigma 20 to 0.02, 64 independent searches for "a three". The verifier is log p(3 | x) of a classifier trained
on one half of the digits; the judge is a classifier trained on the other half.

    python reproductions/inference_time_scaling.py                # three seeds, one thread, some minutes
    python reproductions/inference_time_scaling.py --seeds 0 --searches 256
"""

import statistics

import torch
from digit_mixture import classifier, digit_mixture
from results import experiment, markdown, record
from torch import Tensor

from windvane.samplers import DDIM
from windvane.search import BestOf, Chain, Found, Paths, ZeroOrder, run

WANTED, STEPS = 3, 10
LEVELS = {"start": 2.0, "forward": 0.8, "backward": 1.2, "unit": "noise_level"}
METHODS = {
    "none": BestOf(1),
    "random, N = 4": BestOf(4),
    "random, N = 16": BestOf(16),
    "random, N = 17": BestOf(17),
    "random, N = 64": BestOf(64),
    "zero-order, cosine 0.95": ZeroOrder(rounds=16, cosine=0.95),
    "zero-order, cosine 0.9": ZeroOrder(rounds=16, cosine=0.9),
    "zero-order, cosine 0.7": ZeroOrder(rounds=16, cosine=0.7),
    "paths, keep 2 of 8": Paths(keep=2, expand=4, **LEVELS),
}
MORE_STEPS = (16, 64)


def distance(x: Tensor) -> float:
    """The mean distance of two samples."""
    return float(torch.pdist(x.flatten(1).double()).mean())


def measured(found: Found, judge_of: object, n: int) -> list[float]:
    """Evaluations, verifications, verifier, judge, the judge's accuracy, and diversity."""
    log_p = judge_of(found.x)  # type: ignore[operator]
    right = (log_p.argmax(1) == WANTED).double().mean()
    return [
        found.spent.rows / n, found.spent.verified / n, float(found.score.mean()),
        float(log_p[:, WANTED].mean()), float(right), distance(found.x),
    ]  # fmt: skip


def one_seed(seed: int, n: int) -> dict[str, list[float]]:
    model, verifier, judge = digit_mixture(), classifier(seed, half=0), classifier(seed, half=1)

    def reward(x: Tensor) -> Tensor:
        return verifier(x)[:, WANTED]

    first = seed * 1_000_000
    chain = Chain(model, sampler=DDIM(), steps=STEPS, batch_size=4096)
    table = {
        name: measured(run(method, chain, reward, n=n, seed=first, progress=False), judge, n)
        for name, method in METHODS.items()
    }
    for times in MORE_STEPS:
        longer = Chain(model, sampler=DDIM(), steps=STEPS * times, batch_size=4096)
        found = run(BestOf(1), longer, reward, n=n, seed=first, progress=False)
        table[f"none, {STEPS * times} steps"] = measured(found, judge, n)
    return table


def verdict(mean: dict[str, list[float]]) -> str:
    """The bars, each with its figure."""
    accuracy = {name: line[4] for name, line in mean.items()}
    random = [accuracy[name] for name in ("none", "random, N = 4", "random, N = 16", "random, N = 64")]
    rises = all(a < b for a, b in zip(random, random[1:]))
    paths, equal = mean["paths, keep 2 of 8"], mean["random, N = 17"]
    longer = max(accuracy[f"none, {STEPS * times} steps"] for times in MORE_STEPS)

    def holds(yes: bool) -> str:
        return "holds" if yes else "does not hold"

    return "\n".join(
        [
            f"- accuracy of the judge rises with N in random search: {holds(rises)}",
            f"- and passes 0.95 by N = 64: {random[-1]:.2f}, {holds(random[-1] > 0.95)}",
            f"- paths beat random search at as many evaluations ({paths[0]:.0f} and {equal[0]:.0f}): judge "
            f"{paths[3]:.2f} and {equal[3]:.2f}, {holds(paths[3] > equal[3])}",
            f"- more steps at as many evaluations do not help: accuracy {longer:.2f} at most without search, "
            f"{holds(longer < 0.2)}",
            "- hacking shows as verifier above judge, and as a falling distance: at N = 64 "
            f"{mean['random, N = 64'][2]:.3f} and {mean['random, N = 64'][3]:.3f}, distance "
            f"{mean['none'][5]:.1f} to {mean['random, N = 64'][5]:.1f}",
        ]
    )


def main() -> None:
    parser = experiment(__doc__, seeds=[0, 1, 2])
    parser.add_argument("--searches", type=int, default=64)
    args = parser.parse_args()
    found = []
    for seed in args.seeds:
        found.append(one_seed(seed, args.searches))
        print(f"seed {seed} done", flush=True)
    mean = {
        name: [statistics.mean(values) for values in zip(*(table[name] for table in found))]
        for name in found[0]
    }
    spread = {name: [table[name][4] for table in found] for name in mean}
    rows = [
        [name, f"{line[0]:.0f}", f"{line[1]:.0f}", f"{line[2]:.3f}", f"{line[3]:.3f}", f"{line[4]:.3f}",
         f"{min(spread[name]):.2f} to {max(spread[name]):.2f}", f"{line[5]:.2f}"]
        for name, line in mean.items()
    ]  # fmt: skip
    heads = [
        "search", "network evaluations", "verifications", "verifier", "judge log p", "judge accuracy",
        "over seeds", "mean distance",
    ]  # fmt: skip
    body = (
        f"{markdown(heads, rows)}\n\n{args.searches} searches a seed, mean over seeds "
        f"{', '.join(map(str, args.seeds))}.\n\n{verdict(mean)}"
    )
    print(body)
    record("inference-time-scaling: a three, digits", body)


if __name__ == "__main__":
    main()
