"""What the sampling loop costs: classifier-free guidance with DDIM, beside the bare network and peers.

One network, one set of weights, the same steps for everybody, in one process and in turn:

- ``bare``: the network calls alone, one batched conditional and unconditional call a step (the limit);
- ``windvane``: ``sample(ClassifierFree(...), sampler=DDIM())``;
- ``diffusers``: a loop round ``DDIMScheduler``, batched guidance as in its pipelines;
- ``azula``: ``DDIMSampler`` round ``CFGDenoiser`` (skipped where azula is not installed).

Then every solver, without guidance: the time of one network call in it, beside the bare network's and beside
the same solver of diffusers and of azula.

Run ``python benchmarks/sampling.py``; each figure is a ratio to ``bare`` in the same round.
"""

import argparse
import json
import platform
import resource
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import solver_runs
import torch
from azula_peer import azula_denoiser
from paired import seconds_of

from windvane import DDIM, ClassifierFree, Condition, NetworkDenoiser, VPTable, sample, sample_batches
from windvane.networks import preset
from windvane.networks.base import Network

sys.path.append(str(Path(__file__).parent.parent / "reproductions"))
from results import markdown, record  # noqa: E402

CLASSES, WEIGHT = 10, 2.0


def build() -> tuple[Network, NetworkDenoiser]:
    """The small digit network with random weights, as a noise predictor on DDPM's discrete schedule."""
    from diffusers import DDIMScheduler

    torch.manual_seed(0)
    network = preset("unet-digits", shape=(1, 8, 8), vector=CLASSES).eval()
    table = VPTable(DDIMScheduler().alphas_cumprod.double().tolist())
    return network, NetworkDenoiser(network, table, shape=(1, 8, 8))


def both(batch: int) -> Condition:
    """Unconditional and conditional rows of one batched call."""
    cond = Condition.vector(torch.arange(batch) % CLASSES)
    return Condition.cat([cond.null(), cond])


def bare(network: Network, batch: int, steps: int) -> Callable[[], None]:
    """The network calls and nothing else."""
    x, cond = torch.randn(2 * batch, 1, 8, 8), both(batch)
    times = torch.full((2 * batch,), 500.0)

    def run() -> None:
        with torch.no_grad():
            for _ in range(steps):
                network(x, times, cond)

    return run


def ours(denoiser: NetworkDenoiser, batch: int, steps: int) -> Callable[[], None]:
    """Windvane's own loop."""
    cond = Condition.vector(torch.arange(batch) % CLASSES)
    guided = ClassifierFree(denoiser, WEIGHT)

    def run() -> None:
        sample(guided, seeds=0, n=batch, cond=cond, sampler=DDIM(), steps=steps, progress=False)

    return run


def with_diffusers(network: Network, batch: int, steps: int) -> Callable[[], None]:
    """The loop of diffusers' class-conditional pipelines."""
    from diffusers import DDIMScheduler

    scheduler, cond = DDIMScheduler(clip_sample=False), both(batch)

    def run() -> None:
        scheduler.set_timesteps(steps)
        x = torch.randn(batch, 1, 8, 8)
        with torch.no_grad():
            for t in scheduler.timesteps:
                eps = network(torch.cat([x, x]), t.float().expand(2 * batch), cond)
                plain, conditional = eps.chunk(2)
                x = scheduler.step(plain + WEIGHT * (conditional - plain), t, x).prev_sample

    return run


def with_azula(network: Network, batch: int, steps: int) -> Callable[[], None] | None:
    """azula's DDIM and guidance; its weight is ours less one."""
    try:
        from azula.guidance.cfg import CFGDenoiser
        from azula.sample import DDIMSampler
    except ImportError:
        return None

    cond = Condition.vector(torch.arange(batch) % CLASSES)
    guided = CFGDenoiser(azula_denoiser(network)).eval()
    sampler = DDIMSampler(guided, steps=steps, silent=True)

    def run() -> None:
        start = sampler.init((batch, 1, 8, 8))
        sampler(start, positive={"cond": cond}, negative={"cond": cond.null()}, guidance=WEIGHT - 1)

    return run


def compare(contenders: dict[str, Callable[[], None]], rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of each contender per round, the order turned each round; ratios to ``bare``."""
    names, seconds = list(contenders), seconds_of(contenders, rounds)
    out = {}
    for name in names:
        ratios = [s / b for s, b in zip(seconds[name], seconds["bare"])]
        quarter = statistics.quantiles(ratios, n=4) if rounds > 1 else ratios * 3
        out[name] = {
            "median_seconds": statistics.median(seconds[name]),
            "ratio": statistics.median(ratios),
            "ratio_low": quarter[0],
            "ratio_high": quarter[2],
        }
    return out


def solver_table(network: Network, denoiser: NetworkDenoiser, batch: int, calls: int, rounds: int) -> str:
    """Markdown: time of a network call in each solver over the bare call's, median of the rounds."""
    houses = {
        "windvane": solver_runs.ours(denoiser, batch, calls),
        "diffusers": solver_runs.with_diffusers(network, batch, calls),
        "azula": solver_runs.with_azula(network, batch, calls),
    }
    x, times = torch.randn(batch, 1, 8, 8), torch.full((batch,), 500.0)

    def bare_calls() -> None:
        with torch.no_grad():
            for _ in range(calls):
                network(x, times, None)

    runs: dict[str, Callable[[], None]] = {"bare": bare_calls}
    runs |= {f"{house} {name}": run for house, of in houses.items() for name, run in of.items()}
    made = {name: solver_runs.calls_of(network, run) for name, run in runs.items()}
    found = compare(runs, rounds)
    rows = []
    for name in houses["windvane"]:
        cells = [name, str(made[f"windvane {name}"])]
        for house in houses:
            key = f"{house} {name}"
            cells.append(f"{found[key]['ratio'] * calls / made[key]:.3f}" if key in found else "-")
        rows.append(cells)
    each = 1000 * found["bare"]["median_seconds"] / calls
    return f"Batch {batch}; the bare call takes {each:.2f} ms.\n\n" + markdown(
        ["solver", "calls", *houses], rows
    )


def memory(denoiser: NetworkDenoiser, count: int, batch: int) -> tuple[float, float]:
    """Peak resident memory in MiB after the first tenth of ``count`` samples and after all of them."""

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    first = 0.0
    done = 0
    for samples in sample_batches(
        denoiser, seeds=0, n=count, sampler=DDIM(), steps=2, batch_size=batch, progress=False
    ):
        done += len(samples.x)
        if not first and done >= count // 10:
            first = peak()
    return first, peak()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--samples", type=int, default=10_000, help="for the memory figure")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    parser.add_argument("--calls", type=int, default=12, help="network calls of every solver")
    parser.add_argument("--part", choices=("all", "loop", "solvers"), default="all")
    parser.add_argument("--record", action="store_true", help="put the table of solvers into RESULTS.md")
    args = parser.parse_args()

    network, denoiser = build()
    parameters = sum(p.numel() for p in network.parameters())
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"UNet2DModel of {parameters / 1e6:.2f} M parameters, 1x8x8, guidance {WEIGHT}, {args.steps} steps")
    if args.part != "loop":
        tables = [solver_table(network, denoiser, b, args.calls, args.rounds) for b in (1, 64)]
        about = (
            f"UNet2DModel of {parameters / 1e6:.2f} M parameters, 1x8x8, {torch.get_num_threads()} threads. "
            f"Time of a network call in each solver over the bare call, median of {args.rounds} rounds in "
            "turn. Peers' solvers of the same name (azula's xEAB for the multistep "
            "ones); their number of calls may differ by one."
        )
        body = "\n\n".join([about, *tables])
        print(body)
        if args.record:
            record("sampling: time per call of each solver", body)
    if args.part == "solvers":
        return
    figures: dict[str, object] = {"parameters": parameters, "steps": args.steps, "rounds": args.rounds}
    for batch in (1, 64):
        contenders = {
            "bare": bare(network, batch, args.steps),
            "windvane": ours(denoiser, batch, args.steps),
            "diffusers": with_diffusers(network, batch, args.steps),
        }
        azula = with_azula(network, batch, args.steps)
        if azula is not None:
            contenders["azula"] = azula
        else:
            print("azula is not installed (make bench installs it); left out")
        rounds = args.rounds if batch > 1 else 3 * args.rounds
        rows = compare(contenders, rounds)
        figures[f"batch_{batch}"] = rows
        print(f"\nbatch {batch}: time over the bare network calls, median (quartiles) of {rounds} rounds")
        for name, row in rows.items():
            spread = f"({row['ratio_low']:.3f} .. {row['ratio_high']:.3f})"
            print(f"  {name:10} {row['ratio']:.3f} {spread}   {1000 * row['median_seconds']:.1f} ms")
    first, last = memory(denoiser, args.samples, 250)
    figures["memory_mib"] = {"first_tenth": first, "all": last, "samples": args.samples}
    print(
        f"\npeak memory: {first:.0f} MiB after {args.samples // 10} samples, {last:.0f} after {args.samples}"
    )
    if args.json is not None:
        args.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
