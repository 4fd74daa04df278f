"""What a search costs beside its network, and what a large tree weighs.

- overhead: the time of a search that its network calls do not take, as a share of theirs, at batch 64, for
  plain sampling, best of N, zero-order search, Feynman-Kac steering and a diffusion tree, which is first
  grown with a denoiser that costs nothing;
- memory: a tree of 100,000 nodes at 32 x 32 x 3, in memory and in a file.

Run ``python benchmarks/search.py --part overhead`` and ``--part memory``; the bars are 5 % and 2 GiB.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "reproductions"))
from results import markdown, record  # noqa: E402

from windvane import DDIM, DDPM, FunctionDenoiser, NetworkDenoiser, VPCosine, sample
from windvane.networks import preset
from windvane.search import BestOf, Chain, DiffusionTree, FeynmanKac, ZeroOrder, run

SHAPE, BATCH = (3, 32, 32), 64
GIB = 1 << 30


class Timed(torch.nn.Module):
    """A network that adds up the time spent in it."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network, self.seconds, self.calls = network, 0.0, 0

    def forward(self, x: Tensor, time_: Tensor, cond: object) -> Tensor:
        begin = time.perf_counter()
        out = self.network(x, time_, cond)
        self.seconds += time.perf_counter() - begin
        self.calls += 1
        return out


def brightness(x: Tensor) -> Tensor:
    return x.flatten(1).mean(1)


def free(x: Tensor, t: Tensor, cond: object) -> Tensor:
    """A denoiser that costs nothing."""
    return 0.5 * x


def overhead(steps: int, before: int) -> tuple[list[list[str]], bool]:
    network = Timed(preset("unet-small32", shape=SHAPE).eval())
    model = NetworkDenoiser(network, VPCosine(), parametrisation="eps", shape=SHAPE)

    def chain(sampler: object) -> Chain:
        return Chain(model, sampler=sampler, steps=steps, batch_size=BATCH)  # type: ignore[arg-type]

    tree = DiffusionTree(
        Chain(FunctionDenoiser(free, VPCosine(), shape=SHAPE), sampler=DDPM(), steps=steps), brightness
    )
    tree.grow(rollouts=before, batch=BATCH, progress=False)
    tree.chain.denoiser, tree.chain.batch_size = model, BATCH
    tree.rollouts.chain.denoiser = model
    cases: dict[str, Callable[[], object]] = {
        "plain sampling": lambda: sample(
            model, seeds=0, n=BATCH, sampler=DDPM(), steps=steps, progress=False
        ),
        "best of N": lambda: run(BestOf(1), chain(DDPM()), brightness, n=BATCH, progress=False),
        "zero-order": lambda: run(
            ZeroOrder(neighbours=4, rounds=1), chain(DDIM()), brightness, n=BATCH // 4, progress=False
        ),
        "Feynman-Kac": lambda: run(FeynmanKac(particles=BATCH), chain(DDPM()), brightness, progress=False),
        f"tree of {len(tree):,} nodes": lambda: tree.grow(rollouts=BATCH, batch=BATCH, progress=False),
    }
    model(torch.zeros(BATCH, *SHAPE), torch.full((BATCH,), 0.5))  # warm
    rows, good = [], True
    for name, case in cases.items():
        network.seconds, network.calls = 0.0, 0
        begin = time.perf_counter()
        case()
        whole = time.perf_counter() - begin
        share = (whole - network.seconds) / network.seconds
        good = good and share <= 0.05
        rows.append(
            [name, str(network.calls), f"{network.seconds / network.calls * 1e3:.0f}",
             f"{(whole - network.seconds) / network.calls * 1e3:.1f}", f"{share:.2%}"]
        )  # fmt: skip
        print(" ".join(rows[-1]), flush=True)
    return rows, good


def resident() -> int:
    """Bytes of memory that the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def memory(nodes: int) -> tuple[list[list[str]], bool]:
    rows, good = [], True
    with tempfile.TemporaryDirectory() as folder:
        for name, place in (("float16 in memory", None), ("float16 in a file", folder)):
            before = resident()
            chain = Chain(
                FunctionDenoiser(free, VPCosine(), shape=SHAPE), sampler=DDPM(), steps=5, batch_size=BATCH
            )
            tree = DiffusionTree(chain, brightness, branch_at=[1, 2, 3, 4], folder=place)
            begin = time.perf_counter()
            while len(tree) < nodes:
                tree.grow(rollouts=BATCH, batch=BATCH, progress=False)
            seconds, grown = time.perf_counter() - begin, resident() - before
            good = good and grown < 2 * GIB
            rows.append(
                [name, f"{len(tree):,}", f"{tree.grown:,}", f"{grown / GIB:.2f}", f"{seconds:.0f}",
                 f"{seconds / tree.spent.calls * 1e3:.1f}"]
            )  # fmt: skip
            print(" ".join(rows[-1]), flush=True)
            del tree, chain
    return rows, good


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=["overhead", "memory"], default="overhead")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--grown", type=int, default=3000, help="rollouts of the tree before it is timed")
    parser.add_argument("--nodes", type=int, default=100_000)
    args = parser.parse_args()
    if args.part == "overhead":
        rows, good = overhead(args.steps, args.grown)
        heads = ["search", "calls", "network, ms a call", "rest, ms a call", "rest / network"]
        text = f"Batch {BATCH}, 3 x 32 x 32, unet-small32, one thread or as torch is set.\n\n- at most 5 %: "
    else:
        rows, good = memory(args.nodes)
        heads = ["states", "nodes", "rollouts", "GiB", "seconds", "ms a call of 64 rows"]
        text = "A denoiser that costs nothing; memory held at the end over that before.\n\n- below 2 GiB: "
    body = f"{markdown(heads, rows)}\n\n{text}{'holds' if good else 'does not hold'}"
    print(body)
    record(f"search benchmark: {args.part}", body)


if __name__ == "__main__":
    main()
