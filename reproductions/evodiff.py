"""EVODiff (Li, Chen, Zeng 2025, arXiv 2509.26096) and the solvers it stands on: error against calls.

The exact denoiser of the 8x8 digits (three Gaussians with full covariances for each class), sigma 20 to 0.02
even in log-SNR; the error is the distance to 241 calls of Heun from the same noise. Then the same over sigma
80 to 0.002, where EVODiff is known to lose, and data- against noise-prediction under strong guidance.

    python reproductions/evodiff.py                  # three seeds of 130 samples, a CPU core, some minutes
    python reproductions/evodiff.py --seeds 0 --keep runs/evodiff.json     # in parts: then --seeds 0 1, ...
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from digit_models import bar, mean
from kept import Kept
from results import markdown, record
from torch import Tensor

from windvane.conditions import Condition
from windvane.convert import eps_from_x0
from windvane.data import digits
from windvane.denoiser import Denoiser
from windvane.exact import GaussianMixtureDenoiser
from windvane.grids import log_snr
from windvane.guidance import ClassifierFree
from windvane.process import EDM
from windvane.samplers import (
    DDIM,
    BoundDenoiser,
    DPMSolverPP,
    DPMSolverSinglestep,
    EVODiff,
    Heun,
    Sampler,
    UniPC,
    sample,
)

Error = tuple[float, float, int]
Curves = dict[str, dict[str, Error]]
PICTURE = Path(__file__).parent.parent / "docs" / "assets" / "solvers.svg"
NEAR = EDM(sigma_max=20.0, sigma_min=0.02)
WIDE = EDM(sigma_max=80.0, sigma_min=0.002)


@dataclass(frozen=True)
class Rows:
    """Which samples: ``count`` of them, with the seeds ``first``, ``first + 1``, ..."""

    first: int
    count: int


def digit_mixture(process: EDM) -> GaussianMixtureDenoiser:
    """Three Gaussians for each class of the digits; 0.01 is added to the diagonals of their covariances."""
    from sklearn.mixture import GaussianMixture

    data = digits()
    x = data.batch(torch.arange(len(data))).flatten(1).double()
    if data.labels is None:
        raise SystemExit("the digits come with labels")
    weights, means, covariances = [], [], []
    for label in range(10):
        rows = x[data.labels == label]
        fitted = GaussianMixture(3, reg_covar=1e-2, random_state=0).fit(rows.numpy())
        weights.append(torch.tensor(fitted.weights_) * len(rows))
        means.append(torch.tensor(fitted.means_))
        covariances.append(torch.tensor(fitted.covariances_))
    return GaussianMixtureDenoiser(
        torch.cat(weights), torch.cat(means), torch.cat(covariances), process,
        classes=torch.arange(10).repeat_interleave(3), shape=(1, 8, 8),
    )  # fmt: skip


def solvers(calls: int) -> dict[str, tuple[Sampler, int]]:
    """Each solver with the steps that make ``calls`` calls."""
    single = DPMSolverSinglestep.fast(calls, 3)
    return {
        "DDIM": (DDIM(), calls),
        "2M": (DPMSolverPP(order=2), calls),
        "3M": (DPMSolverPP(order=3), calls),
        "3S (fast)": (single, len(single.orders)),
        "UniPC-2 bh2": (UniPC(order=2), calls),
        "UniPC-3 bh1": (UniPC(order=3, variant="bh1"), calls),
        "EVODiff": (EVODiff(), calls),
    }


def draw(
    denoiser: Denoiser, sampler: Sampler, steps: int, rows: Rows, cond: Condition | None = None
) -> Tensor:
    """Samples in float64 on the log-SNR grid."""
    return sample(
        denoiser, seeds=rows.first, n=rows.count, sampler=sampler, steps=steps, grid=log_snr, cond=cond,
        dtype=torch.float64, progress=False,
    ).x  # fmt: skip


def distance(x: Tensor, truth: Tensor) -> Error:
    """Root mean square over everything, the median sample's, and how many samples are further than 0.2 away.

    So far away is another digit, or another way to write it: pixels lie in [-1, 1].
    """
    square = (x - truth).square().flatten(1).mean(1)
    return float(square.mean().sqrt()), float(square.sqrt().median()), int((square.sqrt() > 0.2).sum())


def curves(process: EDM, calls: Sequence[int], rows: Rows) -> Curves:
    """The error of every solver at every number of calls, from the noises of one seed."""
    denoiser = digit_mixture(process)
    truth = draw(denoiser, Heun(), 121, rows)
    found: Curves = {}
    for number in calls:
        for name, (sampler, steps) in solvers(number).items():
            error = distance(draw(denoiser, sampler, steps, rows), truth)
            found.setdefault(name, {})[str(number)] = error
    return found


def noise_prediction_2m(denoiser: Denoiser, steps: int, rows: Rows, cond: Condition) -> Tensor:
    """DPM-Solver-2 multistep on eps instead of x0, written out, ending in the same call to zero noise."""
    process, times = denoiser.process, log_snr(denoiser.process, steps)
    x = sample(
        denoiser, seeds=rows.first, n=rows.count, steps=1, cond=cond, dtype=torch.float64, record=True,
        progress=False,
    )  # fmt: skip
    if x.trajectory is None:
        raise SystemExit("the run was recorded")
    state, bound, older = x.trajectory.x[0], BoundDenoiser(denoiser, cond), None
    for t, s in zip(times[:-2], times[1:-1]):
        h = float(process.log_snr(s) - process.log_snr(t)) / 2
        eps = eps_from_x0(process, state, bound(state, t), t)
        change = eps if older is None else eps + 0.5 * (eps - older)
        state = state - process.sigma(s) * math.expm1(h) * change
        older = eps
    return bound(state, times[-2])


def guided(rows: Rows) -> dict[str, list[float]]:
    """2M's error with data- and with noise-prediction, by calls, under strong guidance."""
    denoiser = digit_mixture(NEAR)
    strong, cond = ClassifierFree(denoiser, 4.0), Condition.vector(torch.arange(rows.count) % 10)
    truth = draw(strong, Heun(), 241, rows, cond)
    return {
        str(calls): [
            distance(draw(strong, DPMSolverPP(order=2), calls, rows, cond), truth)[0],
            distance(noise_prediction_2m(strong, calls, rows, cond), truth)[0],
        ]
        for calls in (8, 12, 20)
    }


def table(found: Sequence[Curves]) -> str:
    """Means over the seeds."""
    calls = list(next(iter(found[0].values())))
    rows = [
        [name, *(f"{mean([f[name][c][0] for f in found]):.3f} "
                 f"({mean([f[name][c][1] for f in found]):.3f})" for c in calls)]
        for name in found[0]
    ]  # fmt: skip
    return markdown(["solver", *(f"{c} calls" for c in calls)], rows)


def by_seed(values: Sequence[float], digits: int = 2) -> str:
    return f"{mean(values):.{digits}f} (by seed {', '.join(f'{v:.{digits}f}' for v in values)})"


def verdict(found: Sequence[Curves]) -> str:
    """The bars with their figures, mean over the seeds and each seed."""
    lines = []
    for name in ("2M", "3M", "UniPC-3 bh1"):
        for kind, index in (("root mean square", 0), ("median sample", 1)):
            ratios = [f[name]["12"][index] / f["DDIM"]["12"][index] for f in found]
            lines.append(
                f"- {name} below half of DDIM at 12 calls, {kind}: {by_seed(ratios)}, "
                f"{bar(mean(ratios) < 0.5)}"
            )
    for calls in ("12", "16"):
        ratios = [f["EVODiff"][calls][0] / f["2M"][calls][0] for f in found]
        medians = [f["EVODiff"][calls][1] / f["2M"][calls][1] for f in found]
        astray = [sum(f[name][calls][2] for f in found) for name in ("EVODiff", "2M")]
        lines.append(
            f"- EVODiff at most 0.7 of 2M at {calls} calls: {by_seed(ratios)}, {bar(mean(ratios) <= 0.7)}; "
            f"on the median sample its error is {by_seed(medians, 1)} times 2M's; further than 0.2 away are "
            f"{astray[0]} samples of EVODiff's and {astray[1]} of 2M's"
        )
    return "\n".join(lines)


def plot(found: Sequence[Curves], path: Path) -> None:
    """The means of the first table as a picture: the one of the page "Choose a sampler"."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "windvane"}):
        figure = Figure(figsize=(7.0, 4.0), layout="constrained")
        sides = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, index, title in zip(sides, (0, 1), ("root mean square", "median sample")):
            for name, errors in found[0].items():
                values = [mean([f[name][calls][index] for f in found]) for calls in errors]
                axes.plot([int(c) for c in errors], values, marker="o", ms=3, lw=1.4, label=name)
            axes.set_yscale("log")
            axes.set_title(title, fontsize=10, loc="left")
            axes.set_xlabel("network calls")
            axes.grid(color="0.9", lw=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        sides[0].set_ylabel("distance to the exact solution")
        sides[1].legend(frameon=False, fontsize=8)
        figure.savefig(path, format="svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=130, help="of each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--keep", type=Path, help="JSON file of figures; what is in it is not run again")
    parser.add_argument("--plot", type=Path, default=PICTURE, help="where the picture of the curves goes")
    args = parser.parse_args()
    kept = Kept(args.keep)
    near, wide, strong = [], [], []
    for seed in args.seeds:
        rows, key = Rows(100_000 * seed, args.samples), f"seed {seed}, {args.samples} samples"
        near.append(kept(f"near, {key}", partial(curves, NEAR, (6, 8, 10, 12, 16, 20, 24), rows)))
        wide.append(kept(f"wide, {key}", partial(curves, WIDE, (8, 10, 16, 24), rows)))
        strong.append(kept(f"guided, {key}", partial(guided, rows)))
    lines = [[calls, *(f"{mean([s[calls][k] for s in strong]):.3f}" for k in (0, 1))] for calls in strong[0]]
    body = (
        f"Exact digit mixture, {len(args.seeds)} seeds of {args.samples} samples, float64; root mean square "
        f"distance to 241 calls of Heun (and, in brackets, the median sample's).\n\nsigma 20 to 0.02:\n\n"
        f"{table(near)}\n\n{verdict(near)}\n\n"
        f"sigma 80 to 0.002, where steps are longer and EVODiff is expected to lose:\n\n{table(wide)}\n\n"
        "2M with data- and with noise-prediction under classifier-free guidance of weight 4:\n\n"
        + markdown(["calls", "data", "noise"], lines)
    )
    print(body)
    plot(near, args.plot)
    record("evodiff: error against calls on the exact digits", body)


if __name__ == "__main__":
    main()
