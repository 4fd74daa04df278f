"""Diffusion tree sampling and search (Jain et al. 2025, arXiv 2506.20701) on an exact denoiser of the digits.

Three Gaussians with full covariances for each class of the 8x8 digits, in closed form: nothing is trained but
a small classifier, which gives rewards. 20 ancestral steps, sigma 20 to 0.02, branching every four
(in the search every two).

- values: the tree's values at its first level beside r(D), the usual guess; the truth is 150 rollouts a node;
- sampling: MMD^2 to p(x) exp(r(x)), r = log p(even), at equal evaluations, beside the paper's baseline
  (particles resampled multinomially at every step), Feynman-Kac steering at its best, and plain samples
  weighed by exp(r);
- search: the best standardised left-minus-right ink, beside best of N at one and six times the evaluations.

    python reproductions/diffusion_tree_sampling.py --part values      # one thread, some minutes a part
    python reproductions/diffusion_tree_sampling.py --part sampling
    python reproductions/diffusion_tree_sampling.py --part search
"""

import argparse
import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from digit_mixture import classifier, digit_mixture
from results import markdown, record
from torch import Tensor

from windvane.samplers import DDPM
from windvane.search import BestOf, Budget, Chain, DiffusionTree, FeynmanKac, run

STEPS, LEVELS = 20, [4, 8, 12, 16]
SEARCH_LEVELS = list(range(2, STEPS, 2))
TRUTH = 6000
Reward = Callable[[Tensor], Tensor]


def chain() -> Chain:
    return Chain(digit_mixture(), sampler=DDPM(), steps=STEPS, batch_size=4096)


def drawn(of: Chain, n: int, seed: int) -> Tensor:
    keys = list(range(seed, seed + n))
    return of.run(of.start(of.noise(keys)), keys)


def even(judge: Reward) -> Reward:
    """log of the largest probability of an even digit."""
    return lambda x: judge(x)[:, 0::2].max(dim=1).values


def three(judge: Reward) -> Reward:
    return lambda x: judge(x)[:, 3]


def lopsided(of: Chain) -> Reward:
    """Ink on the left minus ink on the right, in standard deviations of the chain's samples."""

    def raw(x: Tensor) -> Tensor:
        return x[:, 0, :, :4].mean((1, 2)) - x[:, 0, :, 4:].mean((1, 2))

    plain = raw(drawn(of, TRUTH, 1 << 40))
    mean, std = plain.mean(), plain.std()
    return lambda x: (raw(x) - mean) / std


# --- values ---------------------------------------------------------------------------------------------


def values(seed: int, nfe: int, rollouts: int, count: int) -> dict[str, list[float]]:
    """RMSE of the tree's values and of r(D), for the ``count`` nodes of the first level visited most.

    Nodes that were visited once hold the reward of one sample, no estimate; their error is given beside.
    """
    judge, found = classifier(seed), {}
    for name, reward in (("even", even(judge)), ("a three", three(judge))):
        of = chain()
        tree = DiffusionTree(of, reward, branch_at=LEVELS, seed=seed)
        tree.grow(nfe, batch=16, progress=False)
        top = tree.nodes.children(0)
        top = top[np.argsort(-tree.nodes.visits[top], kind="stable")]
        rest = top[count :: max(1, (len(top) - count) // 20)][:20]
        errors = [error(of, tree, reward, nodes, rollouts, seed) for nodes in (top[:count], rest)]
        least = float(tree.nodes.visits[top[count - 1]])
        found[name] = [*errors[0], least, errors[1][0]]
    return found


def error(
    of: Chain, tree: DiffusionTree, reward: Reward, nodes: np.ndarray, rollouts: int, seed: int
) -> list[float]:
    states = tree.state_of(nodes)
    keys = [(1 << 41) + seed * 1_000_000 + k for k in range(len(nodes) * rollouts)]
    ends = of.run(states.repeat_interleave(rollouts, dim=0), keys, first=LEVELS[0])
    truth = reward(ends).double().unflatten(0, (-1, rollouts)).logsumexp(1) - math.log(rollouts)
    known = torch.from_numpy(tree.nodes.value[nodes])
    guess = reward(of.predict(states, of.times[LEVELS[0]], torch.zeros(len(nodes)).long())).double()
    return [rmse(known, truth), rmse(guess, truth)]


def rmse(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean().sqrt())


# --- sampling -------------------------------------------------------------------------------------------


def mmd(x: Tensor, weights: Tensor, y: Tensor, other: Tensor, width: float) -> float:
    """MMD^2 of two weighted samples under a Gaussian kernel."""

    def mean(a: Tensor, u: Tensor, b: Tensor, v: Tensor) -> float:
        square = torch.cdist(a.flatten(1).double(), b.flatten(1).double()).square()
        return float(u @ torch.exp(-square / (2 * width**2)) @ v)

    return mean(x, weights, x, weights) - 2 * mean(x, weights, y, other) + mean(y, other, y, other)


#: The particle filters: the paper's baseline, and what this library makes of it.
PARTICLES: dict[str, dict[str, Any]] = {
    "bootstrap filter": {"ess": 1.0, "resampling": "multinomial"},
    "Feynman-Kac": {},
}


def sampling(seed: int, budgets: list[int], repeats: int) -> list[dict[str, list[float]]]:
    """MMD^2 at each budget; particle filters and plain samples several times, with seeds of their own."""
    of, reward = chain(), even(classifier(seed))
    truth = drawn(of, TRUTH, (1 << 42) + seed * TRUTH)
    tilt = reward(truth).double().softmax(0)
    width = float(torch.cdist(truth[:500].flatten(1), truth[500:1000].flatten(1)).median())
    tree, found = DiffusionTree(of, reward, branch_at=LEVELS, seed=seed), []
    for nfe in budgets:
        count = nfe // STEPS
        tree.grow(nfe - tree.spent.rows, batch=16, progress=False)
        row = {"tree": [mmd(*tree.distribution(), truth, tilt, width)]}
        for k in range(repeats):
            own = 1000 * seed + k
            for name, settings in PARTICLES.items():
                made = run(FeynmanKac(particles=count, **settings), of, reward, seed=own, progress=False)
                weights = made.memory["log_weights"][0].exp()
                distance = mmd(made.memory["particles"][0], weights, truth, tilt, width)
                row.setdefault(name, []).append(distance)
            plain = drawn(of, count, (1 << 43) + own * TRUTH)
            distance = mmd(plain, reward(plain).double().softmax(0), truth, tilt, width)
            row.setdefault("plain, weighed", []).append(distance)
        found.append(row)
        print(seed, nfe, row, flush=True)
    return found


# --- search ---------------------------------------------------------------------------------------------


def search(seed: int, nfe: int) -> list[float]:
    """The best reward of DTS*, and of best of N with as many evaluations and with six times as many.

    Branching at every second step and four paths at a time, where the paper has few levels and one path: the
    best of five such choices on seeds 10 to 13, which the table does not use.
    """
    of = chain()
    reward = lopsided(of)
    tree = DiffusionTree(
        of,
        reward,
        branch_at=SEARCH_LEVELS,
        star=True,
        lam=5.0,
        c_uct=0.3,
        widening=1.0,
        exponent=0.5,
        seed=seed,
    ).grow(nfe, batch=4, progress=False)
    found = [float(tree.best()[1])]
    for budget in (nfe, 6 * nfe):
        best = run(BestOf(), of, reward, seed=seed * 1_000_000, budget=Budget(network=budget), progress=False)
        found.append(float(best.score))
    return found


# --- tables ---------------------------------------------------------------------------------------------


def holds(yes: bool) -> str:
    return "holds" if yes else "does not hold"


def values_table(seeds: list[int], nfe: int) -> str:
    found = {seed: values(seed, nfe, 150, 40) for seed in seeds}
    rows, lines = [], []
    for name in ("even", "a three"):
        of = [found[seed][name] for seed in seeds]
        mean = [statistics.mean(column) for column in zip(*of)]
        rows += [[name, str(seed), *(f"{v:.2f}" for v in line)] for seed, line in zip(seeds, of)]
        rows.append([name, "mean", *(f"{v:.2f}" for v in mean)])
        ratio = mean[0] / mean[1]
        lines.append(f"- {name}: at most 0.7 of the usual guess: {ratio:.2f}, {holds(ratio <= 0.7)}")
    heads = ["reward log p of", "seed", "tree", "r(D)", "least visits", "tree, nodes visited less"]
    return (
        f"{markdown(heads, rows)}\n\nRMSE to 150 rollouts a node, at the 40 nodes of the first level visited "
        f"most, after {nfe} network evaluations; the last column is 20 of the others, most of which hold the "
        "reward of a single rollout.\n\n" + "\n".join(lines)
    )


def sampling_table(seeds: list[int], budgets: list[int], repeats: int) -> str:
    found = [sampling(seed, budgets, repeats) for seed in seeds]
    names = list(found[0][0])
    rows, means, middles = [], [], []
    for k, nfe in enumerate(budgets):
        every = {name: [value for run in found for value in run[k][name]] for name in names}
        means.append({name: statistics.mean(values) for name, values in every.items()})
        middles.append({name: statistics.median(values) for name, values in every.items()})
        cells = (f"{means[-1][n]:.4f}, {middles[-1][n]:.4f} ({max(every[n]):.4f})" for n in names)
        rows.append([str(nfe), *cells])
    trees = [mean["tree"] for mean in means]
    lines = []
    for name in names[1:]:
        bars = [all(t < of[name] for t, of in zip(trees, each)) for each in (means, middles)]
        what = "the paper's baseline, " if name == "bootstrap filter" else ""
        lines.append(
            f"- the tree is nearer than {name} ({what}by mean, by median), at every budget: "
            f"{', '.join(map(holds, bars))}"
        )
    lines.append(
        f"- the tree's distance falls with the budget: {holds(all(a > b for a, b in zip(trees, trees[1:])))}"
    )
    return (
        f"{markdown(['evaluations', *names], rows)}\n\nMMD^2 to {TRUTH} weighed samples, Gaussian kernel of "
        f"the median distance: mean, median and (worst) over classifiers of seeds "
        f"{', '.join(map(str, seeds))}, and for all but the tree over {repeats} seeds of sampling each.\n\n"
        + "\n".join(lines)
    )


def search_table(seeds: list[int], nfe: int) -> str:
    found = [search(seed, nfe) for seed in seeds]
    mean = [statistics.mean(column) for column in zip(*found)]
    rows = [[str(seed), *(f"{v:.2f}" for v in line)] for seed, line in zip([*seeds, "mean"], [*found, mean])]
    heads = ["seed", f"DTS*, {nfe}", f"best of N, {nfe}", f"best of N, {6 * nfe}"]
    gaps = [line[0] - line[1] for line in found]
    return (
        f"{markdown(heads, rows)}\n\nStandard deviations of the reward over plain samples.\n\n"
        f"- at least 0.3 above best of N at equal evaluations, every seed: {min(gaps):.2f} at least, "
        f"{holds(min(gaps) >= 0.3)}\n"
        f"- above best of N with six times as many: {holds(all(line[0] > line[2] for line in found))}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=["values", "sampling", "search", "all"], default="all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies all budgets of evaluations")
    parser.add_argument("--repeats", type=int, default=10, help="runs of the particle filters a classifier")
    args = parser.parse_args()
    nfe = int(20_000 * args.scale)
    tables = {
        "values": lambda: values_table(args.seeds, nfe),
        "sampling": lambda: sampling_table(
            args.seeds, [int(n * args.scale) for n in (1300, 5000, 20_000)], args.repeats
        ),
        "search": lambda: search_table(args.seeds, nfe // 2),
    }
    for part, table in tables.items():
        if args.part in (part, "all"):
            body = table()
            print(body)
            record(f"diffusion-tree-sampling: {part}, digits", body)


if __name__ == "__main__":
    main()
