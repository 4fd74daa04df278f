"""EVODiff (Li, Chen, Zeng 2025, arXiv 2509.26096) and the solvers it stands on: error against calls.

The exact denoiser of the 8x8 digits (three Gaussians with full covariances for each class), sigma 20 to 0.02
even in log-SNR; the error is the distance to 241 calls of Heun from the same noise. Then the same over sigma
80 to 0.002, where EVODiff is known to lose, and data- against noise-prediction under strong guidance.

    python reproductions/evodiff.py                  # two CPU cores, a minute
    python reproductions/evodiff.py --samples 500
"""

import argparse
import math
from collections.abc import Sequence

import torch
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


def draw(denoiser: Denoiser, sampler: Sampler, steps: int, n: int, cond: Condition | None = None) -> Tensor:
    """Samples in float64 on the log-SNR grid."""
    return sample(
        denoiser, seeds=0, n=n, sampler=sampler, steps=steps, grid=log_snr, cond=cond, dtype=torch.float64,
        progress=False,
    ).x  # fmt: skip


def distance(x: Tensor, truth: Tensor) -> Error:
    """Root mean square over everything, the median sample's, and how many samples are further than 0.2 away.

    So far away is another digit, or another way to write it: pixels lie in [-1, 1].
    """
    square = (x - truth).square().flatten(1).mean(1)
    return float(square.mean().sqrt()), float(square.sqrt().median()), int((square.sqrt() > 0.2).sum())


def curves(process: EDM, calls: Sequence[int], n: int) -> dict[str, dict[int, Error]]:
    """The error of every solver at every number of calls."""
    denoiser = digit_mixture(process)
    truth = draw(denoiser, Heun(), 121, n)
    found: dict[str, dict[int, Error]] = {}
    for number in calls:
        for name, (sampler, steps) in solvers(number).items():
            found.setdefault(name, {})[number] = distance(draw(denoiser, sampler, steps, n), truth)
    return found


def noise_prediction_2m(denoiser: Denoiser, steps: int, n: int, cond: Condition) -> Tensor:
    """DPM-Solver-2 multistep on eps instead of x0, written out, ending in the same call to zero noise."""
    process, times = denoiser.process, log_snr(denoiser.process, steps)
    x = sample(denoiser, seeds=0, n=n, steps=1, cond=cond, dtype=torch.float64, record=True, progress=False)
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


def table(found: dict[str, dict[int, Error]]) -> str:
    calls = list(next(iter(found.values())))
    rows = [
        [name, *(f"{error[c][0]:.3f} ({error[c][1]:.3f})" for c in calls)] for name, error in found.items()
    ]
    return markdown(["solver", *(f"{c} calls" for c in calls)], rows)


def verdict(found: dict[str, dict[int, Error]]) -> str:
    """The sheet's bars with their figures, in the root mean square."""
    lines = []
    for name in ("2M", "3M", "UniPC-3 bh1"):
        for kind, index in (("root mean square", 0), ("median sample", 1)):
            ratio = found[name][12][index] / found["DDIM"][12][index]
            holds = "holds" if ratio < 0.5 else "does not hold"
            lines.append(f"- {name} below half of DDIM at 12 calls, {kind}: {ratio:.2f}, {holds}")
    for calls in (12, 16):
        ratio = found["EVODiff"][calls][0] / found["2M"][calls][0]
        holds = "holds" if ratio <= 0.7 else "does not hold"
        median = found["EVODiff"][calls][1] / found["2M"][calls][1]
        lines.append(
            f"- EVODiff at least 30 % below 2M at {calls} calls: {1 - ratio:.0%} below, {holds}; on the "
            f"median sample its error is {median:.1f} times 2M's; further than 0.2 away are "
            f"{found['EVODiff'][calls][2]} samples of EVODiff's and {found['2M'][calls][2]} of 2M's"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=100)
    args = parser.parse_args()
    near = curves(EDM(sigma_max=20.0, sigma_min=0.02), (6, 8, 10, 12, 16, 20, 24), args.samples)
    wide = curves(EDM(sigma_max=80.0, sigma_min=0.002), (8, 10, 16, 24), args.samples)
    denoiser = digit_mixture(EDM(sigma_max=20.0, sigma_min=0.02))
    guided, cond = ClassifierFree(denoiser, 4.0), Condition.vector(torch.arange(args.samples) % 10)
    truth = draw(guided, Heun(), 241, args.samples, cond)
    rows = []
    for calls in (8, 12, 20):
        data = distance(draw(guided, DPMSolverPP(order=2), calls, args.samples, cond), truth)[0]
        noise = distance(noise_prediction_2m(guided, calls, args.samples, cond), truth)[0]
        rows.append([str(calls), f"{data:.3f}", f"{noise:.3f}"])
    body = (
        f"Exact digit mixture, {args.samples} samples, float64; root mean square distance to 241 calls of "
        f"Heun (and, in brackets, the median sample's).\n\nsigma 20 to 0.02:\n\n{table(near)}\n\n"
        f"{verdict(near)}\n\n"
        f"sigma 80 to 0.002, where steps are longer and EVODiff is expected to lose:\n\n{table(wide)}\n\n"
        "2M with data- and with noise-prediction under classifier-free guidance of weight 4:\n\n"
        + markdown(["calls", "data", "noise"], rows)
    )
    print(body)
    record("evodiff: error against calls on the exact digits", body)


if __name__ == "__main__":
    main()
