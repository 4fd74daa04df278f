"""What sampling costs beside its network, as ratios with a bar each: processor time of pairs in turn.

- own: a step of the loop with a network that is free, so that only the loop is left. Classifier-free
  guidance with DDIM, batch 1 and 64, beside a loop round diffusers' scheduler as in its pipelines; DDPM,
  batch 64, beside the faster of diffusers and azula; DPS and TFG, beside the loop unguided and azula's DPS;
- unet: DPS on a small U-Net, batch 4, beside its forward and backward calls alone, and by hand and by azula
  beside the same;
- compiled: classifier-free guidance with ``compile=True`` beside diffusers' loop with the network as it is.

Run ``python benchmarks/loop.py [own] [unet] [compiled]``; azula is left out where it is not installed
(``make bench`` installs it), and ``compiled`` needs a C++ compiler.
"""

import argparse
import sys
from pathlib import Path

import guidance_runs
import sampling
import solver_runs
import torch
from paired import Pair, heads, paired
from torch import Tensor

from windvane import Condition, NetworkDenoiser, VPTable, sample
from windvane.networks.base import Network

sys.path.append(str(Path(__file__).parent.parent / "reproductions"))
from results import markdown, record  # noqa: E402

STEPS = 50


class Free(torch.nn.Module):
    """A network that costs one product, the least that a gradient can go through."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.1), requires_grad=False)

    def forward(self, x: Tensor, time: Tensor, cond: Condition | None = None) -> Tensor:
        return self.weight * x


def free(shape: tuple[int, ...]) -> NetworkDenoiser:
    from diffusers import DDIMScheduler

    table = VPTable(DDIMScheduler().alphas_cumprod.double().tolist())
    return NetworkDenoiser(Free().eval(), table, shape=shape)


def own_costs(rounds: int) -> list[Pair]:
    """Pairs of the loop alone; seconds a step."""
    denoiser = free((1, 8, 8))
    network: Network = denoiser.network  # type: ignore[assignment]
    made = []
    for batch in (1, 64):
        ours = sampling.ours(denoiser, batch, STEPS)
        for house, bar in (("diffusers", 1.0), ("azula", None)):
            other = getattr(sampling, f"with_{house}")(network, batch, STEPS)
            if other is not None:
                name = f"guidance, batch {batch}, over {house}"
                made.append(paired(name, ours, other, rounds, bar=bar, per=STEPS))
    ancestral = [
        paired(f"DDPM, batch 64, over {house}", solver_runs.ours(denoiser, 64, STEPS)["DDPM"], run["DDPM"],
               rounds, bar=1.1, per=STEPS)
        for house, run in (("diffusers", solver_runs.with_diffusers(network, 64, STEPS)),
                           ("azula", solver_runs.with_azula(network, 64, STEPS)))
        if run
    ]  # fmt: skip
    made.append(max(ancestral, key=lambda pair: pair.ratio))
    pictures, guidances = free(guidance_runs.SHAPE), guidance_runs.guidances()
    azula = guidance_runs.with_azula(pictures, 4, STEPS).get("dps")
    plain = guidance_runs.ours(pictures, None, 4, STEPS)
    for name in ("dps", "tfg"):
        run = guidance_runs.ours(pictures, guidances[name], 4, STEPS)
        made.append(paired(f"{name}, batch 4, over the loop unguided", run, plain, rounds, per=STEPS))
    if azula is not None:
        run = guidance_runs.ours(pictures, guidances["dps"], 4, STEPS)
        made.append(paired("dps, batch 4, over azula", run, azula, rounds, per=STEPS))
    return made


def on_a_unet(rounds: int, batch: int = 4, steps: int = 10) -> list[Pair]:
    """DPS, here and elsewhere, over the forward and backward calls alone."""
    denoiser, guidance = guidance_runs.build(), guidance_runs.guidances()["dps"]
    alone = guidance_runs.bare(denoiser, batch, steps, backward=True)
    contenders = {
        "windvane": guidance_runs.ours(denoiser, guidance, batch, steps),
        "by hand round diffusers": guidance_runs.with_diffusers(denoiser, batch, steps),
        "azula": guidance_runs.with_azula(denoiser, batch, steps).get("dps"),
    }
    return [
        paired(f"dps, {name}", run, alone, rounds, bar=1.07 if name == "windvane" else None, per=steps)
        for name, run in contenders.items()
        if run is not None
    ]


def compiled(rounds: int, steps: int = 10) -> list[Pair]:
    """Guidance through ``sample(compile=True)`` over diffusers' loop with the same network, not compiled."""
    from windvane.guidance import ClassifierFree

    made = []
    for batch in (1, 16, 64):
        network, denoiser = sampling.build()
        eager = sampling.with_diffusers(network, batch, steps)
        _, quick = sampling.build()
        guided = ClassifierFree(quick, sampling.WEIGHT)
        cond = Condition.vector(torch.arange(batch) % sampling.CLASSES)

        def run(guided: ClassifierFree = guided, cond: Condition = cond) -> None:
            sample(guided, seeds=0, n=len(cond), cond=cond, steps=steps, progress=False, compile=True)

        made.append(
            paired(f"compiled, batch {batch}, over diffusers", run, eager, rounds, bar=0.75, per=steps)
        )
    return made


def main() -> None:
    parts = {"own": own_costs, "unet": on_a_unet, "compiled": compiled}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(parts)}; all by default")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-record", action="store_true", help="print only, leave RESULTS.md as it is")
    args = parser.parse_args()
    unknown = set(args.parts) - set(parts)
    if unknown:
        parser.error(f"unknown parts {sorted(unknown)}; parts are {', '.join(parts)}")
    torch.set_num_threads(1)
    for part in args.parts or parts:
        rows = []
        for pair in parts[part](args.rounds):
            rows.append(pair.row(1e6 if part == "own" else 1e3))
            print(*rows[-1], flush=True)
        unit = "us" if part == "own" else "ms"
        body = markdown(heads(f"windvane, {unit} a step", f"the other, {unit}"), rows)
        body += f"\n\nProcessor time on one thread, medians of {args.rounds} rounds of pairs in turn."
        print(body)
        if not args.no_record:
            record(f"What the sampling loop costs: {part}", body)


if __name__ == "__main__":
    main()
