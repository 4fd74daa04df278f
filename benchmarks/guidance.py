"""What guidance costs a step: every preset in network evaluations, backward passes, time and peak memory.

One network with random weights, one measurement, the same ancestral steps for everybody, in one process and
in turn, each beside the bare network calls (``forward``) and the bare calls with their backward pass
(``forward + backward``), which is the least that a gradient through the network can cost:

- every preset of ``windvane.guidance.presets``, and the projection;
- ``low memory``: DPS with the network's blocks computed twice;
- ``azula``: its DPS and its pseudo-inverse guidance, beside the same updates here (where it is installed);
- ``diffusers``: has no guidance by an energy's gradient outside its reinforcement-learning pipeline; its DDPM
  scheduler with DPS written by hand round it.

Then the contrasts of a class-conditional network of the same size (classifier-free, autoguidance,
gradient-free) and EluCD's kick, beside calls of twice the rows (``forward, both``), azula's classifier-free
guidance, and diffusers' guider with its DDIM scheduler.

Peak memory is the growth of the resident set's high-water mark (``ru_maxrss``) of a process of its own,
forked before anything else was run, which sees torch's allocations as tracemalloc cannot.

Run ``python benchmarks/guidance.py``; on one thread it takes some minutes.
"""

import argparse
import os
import resource
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import contrast_runs
import torch
from guidance_runs import (
    OPERATOR,
    SHAPE,
    Run,
    bare,
    build,
    calls_of,
    guidances,
    measurement,
    ours,
    with_azula,
    with_diffusers,
)

sys.path.insert(0, str(Path(__file__).parent.parent / "reproductions"))
from paired import seconds_of
from results import markdown, publish

from windvane import NetworkDenoiser, sample
from windvane.guidance import GradientGuidance, Projected
from windvane.samplers import DDPM


def peak_growth(run: Run) -> float:
    """MiB by which the high-water mark of a forked process grows while it runs."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            run()
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            os.write(write, str(grown / 1024).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        found = pipe.read()
    os.waitpid(child, 0)
    if not found:
        raise RuntimeError("a run failed while its memory was measured")
    return float(found)


def equal_pushes(denoiser: NetworkDenoiser, guidance: GradientGuidance) -> float:
    """The largest difference between samples with and without low memory."""
    a, b = (
        sample(
            denoiser, seeds=0, n=4, sampler=guidance.sampler(DDPM(), low_memory=low), steps=5, progress=False
        ).x
        for low in (False, True)
    )
    return float((a - b).abs().max())


def contrast_table(args: argparse.Namespace) -> str:
    """The contrasts, timed and measured like the rest."""
    denoiser = contrast_runs.conditional()
    made = contrast_runs.contrasts(denoiser)

    def contenders(n: int, steps: int) -> dict[str, Run]:
        runs = {"forward, both": contrast_runs.bare_twice(denoiser, n, steps)}
        runs |= {name: contrast_runs.ours(*pair, n, steps) for name, pair in made.items()}
        runs["diffusers: classifier-free"] = contrast_runs.with_diffusers(denoiser, n, steps)
        runs |= {f"azula: {k}": run for k, run in contrast_runs.with_azula(denoiser, n, steps).items()}
        return runs

    memory = {name: peak_growth(run) for name, run in contenders(args.memory_batch, 2).items()}
    seconds = seconds_of(contenders(args.batch, args.steps), args.rounds)
    rows = []
    for name, spent in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(spent, seconds["forward, both"]))
        calls = f"{contrast_runs.rows_of(*made[name]):.2f}" if name in made else ""
        milliseconds = 1000 * statistics.median(spent) / args.steps
        rows.append([name, calls, f"{milliseconds:.1f}", f"{ratio:.2f}", f"{memory[name]:.0f}"])
    heads = ["contrast", "rows a sample and step", "ms a step", "time / forward of both", "peak memory, MiB"]
    return markdown(heads, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-batch", type=int, default=128)
    parser.add_argument("--no-record", action="store_true", help="print only, leave RESULTS.md as it is")
    args = parser.parse_args()
    torch.set_num_threads(1)
    denoiser, presets_of = build(), guidances()

    def contenders(n: int, steps: int) -> dict[str, Run]:
        runs = {
            "forward": bare(denoiser, n, steps, backward=False),
            "forward + backward": bare(denoiser, n, steps, backward=True),
            "unguided": ours(denoiser, None, n, steps),
        }
        runs |= {name: ours(denoiser, guidance, n, steps) for name, guidance in presets_of.items()}
        runs["projection"] = ours(Projected(denoiser, OPERATOR, measurement()), None, n, steps)
        runs["dps, low memory"] = ours(denoiser, presets_of["dps"], n, steps, low_memory=True)
        runs |= {f"azula: {name}": run for name, run in with_azula(denoiser, n, steps).items()}
        runs["diffusers: dps by hand"] = with_diffusers(denoiser, n, steps)
        return runs

    memory = {name: peak_growth(run) for name, run in contenders(args.memory_batch, 2).items()}
    calls = {name: calls_of(denoiser, guidance) for name, guidance in presets_of.items()}
    calls |= {"unguided": calls_of(denoiser, None), "dps, low memory": calls["dps"]}
    calls["projection"] = calls_of(Projected(denoiser, OPERATOR, measurement()), None)
    seconds = seconds_of(contenders(args.batch, args.steps), args.rounds)

    def ratio(name: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[name], seconds[other]))

    rows = []
    for name in seconds:
        evaluations, backward = (f"{c:g}" for c in calls[name]) if name in calls else ("", "")
        rows.append([
            name, evaluations, backward, f"{1000 * statistics.median(seconds[name]) / args.steps:.1f}",
            f"{ratio(name, 'forward'):.2f}", f"{ratio(name, 'forward + backward'):.2f}",
            f"{memory[name]:.0f}",
        ])  # fmt: skip
    report(args, rows, memory, ratio, equal_pushes(denoiser, presets_of["dps"]))


def report(
    args: argparse.Namespace, rows: list[list[str]], memory: dict[str, float],
    ratio: Callable[[str, str], float], difference: float,
) -> None:  # fmt: skip
    """Print the table, and put it into RESULTS.md."""
    heads = [
        "guidance", "evaluations a step", "backward passes a step", "ms a step", "time / forward",
        "time / (forward + backward)", "peak memory, MiB",
    ]  # fmt: skip
    by_hand = "diffusers: dps by hand"
    note = (
        f"UNet of the digits preset, {SHAPE[1]}x{SHAPE[2]}, one thread, batch {args.batch}, {args.steps} "
        f"ancestral steps, medians of {args.rounds} rounds in turn. Peak memory: growth of ru_maxrss in a "
        f"process of its own, batch {args.memory_batch}."
    )
    lines = [
        f"- low memory: {memory['dps, low memory'] / memory['dps']:.2f} of DPS's peak at "
        f"{ratio('dps, low memory', 'dps'):.2f} of its time; largest difference of samples {difference:g}",
        f"- DPS against diffusers' scheduler with DPS by hand: {ratio('dps', by_hand):.2f} of "
        f"its time, {memory['dps'] / memory[by_hand]:.2f} of its peak",
    ]
    for name in ("dps", "pseudo-inverse"):
        if f"azula: {name}" in memory:
            lines.append(
                f"- {name} against azula: {ratio(name, f'azula: {name}'):.2f} of its time, "
                f"{memory[name] / memory[f'azula: {name}']:.2f} of its peak"
            )
    body = f"{markdown(heads, rows)}\n\n{note}\n\n" + "\n".join(lines) + f"\n\n{contrast_table(args)}"
    publish("guidance: cost of a step", body, keep=not args.no_record)


if __name__ == "__main__":
    main()
