"""The samples that `unchanged.py` looks at: solvers x processes x guidance, and what the loop can do."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

import windvane as wv
from windvane.energies import ClassLogProb, Measurement, MeasurementNorm, Reward
from windvane.guidance import (
    Autoguidance,
    ByNoiseLevel,
    ClassifierFree,
    GradientFree,
    KickedSampler,
    Projected,
    Routed,
    interval,
    presets,
)
from windvane.networks import ResidualMLP
from windvane.operators import Inpainting
from windvane.randomness import scoped_seed
from windvane.samplers import start_from

SHAPE, CLASSES, ROWS, STEPS = (1, 4, 4), 3, 3, 5
TABLE = (wv.VPLinear().alpha(torch.linspace(0, 1, 51, dtype=torch.float64)[1:]) ** 2).tolist()
PROCESSES: dict[str, Any] = {
    "vp_linear": wv.VPLinear(),
    "vp_cosine": wv.VPCosine(),
    "edm": wv.EDM(),
    "rectified_flow": wv.RectifiedFlow(),
    "vp_table": wv.VPTable(TABLE),
    "pfgmpp": wv.PFGMPP(dof=16, sigma_max=20.0, sigma_min=0.02),
}
SAMPLERS: dict[str, Any] = {
    "ddpm": wv.DDPM(),
    "ddpm large": wv.DDPM(variance="large"),
    "ddim": wv.DDIM(),
    "ddim 0.5": wv.DDIM(eta=0.5),
    "euler": wv.Euler(),
    "heun": wv.Heun(),
    "heun churned": wv.Heun(churn=4.0),
    "2s": wv.DPMSolverSinglestep(order=2),
    "3s": wv.DPMSolverSinglestep(order=3),
    "2m": wv.DPMSolverPP(order=2),
    "3m": wv.DPMSolverPP(order=3),
    "3m released": wv.DPMSolverPP(order=3, as_released=True, lower_order_final=False),
    "sde": wv.DPMSolverSDE(order=1),
    "2m-sde": wv.DPMSolverSDE(order=2),
    "unipc1": wv.UniPC(order=1),
    "unipc2": wv.UniPC(order=2),
    "unipc3": wv.UniPC(order=3, variant="bh1"),
    "unipc3 bh2": wv.UniPC(order=3),
    "unipc3 predictor": wv.UniPC(order=3, corrector=False),
    "evodiff": wv.EVODiff(),
    "evodiff high": wv.EVODiff(lower_order_final=False),
}
TARGET = torch.linspace(-0.8, 0.9, 16).reshape(1, 1, 4, 4)
MASK = (torch.arange(16) % 3 > 0).reshape(1, 4, 4).float()
IDS = torch.tensor([0, 1, 2])


def network(process: Any, *, seed: int = 0, width: int = 32) -> Any:
    """A small conditional denoiser whose last layer is not zero, so that it predicts something."""
    with scoped_seed(seed):
        made = ResidualMLP.build(shape=SHAPE, vector=CLASSES, width=width, blocks=1)
        torch.nn.init.normal_(made.last.weight, std=0.2)
    return wv.NetworkDenoiser(made, process, parametrisation="v", shape=SHAPE).eval()


def logits(x: torch.Tensor) -> torch.Tensor:
    """A classifier of its own."""
    return 3 * torch.stack([x[:, 0, k].mean(1) for k in range(CLASSES)], dim=1)


def energies() -> dict[str, Any]:
    near = Reward(lambda x: -(x - TARGET.to(x)).square().flatten(1).sum(1), name="near")
    return {
        "near": near,
        "class": ClassLogProb(logits, 1),
        "noisy": Reward(
            lambda x, t: -(x - TARGET.to(x)).square().flatten(1).mean(1), timed=True, name="noisy"
        ),
        "norm": MeasurementNorm(Inpainting(MASK), TARGET * MASK),
        "measured": Measurement(Inpainting(MASK), TARGET * MASK, std=0.2),
    }


def guided() -> dict[str, Callable[[Any, Any], tuple[Any, Any]]]:
    """Name -> (denoiser, sampler) -> both under guidance."""
    e = energies()
    pushes = {
        "adm": presets.adm(e["noisy"], 1.0, mean_shift=False),
        "adm mean": presets.adm(e["noisy"], 1.0),
        "sdg": presets.sdg(e["noisy"], 2.0),
        "dps": presets.dps(e["norm"], 0.3),
        "lgd": presets.lgd(e["near"], 0.05, draws=3, seed=4),
        "freedom": presets.freedom(e["near"], 0.1, recurrences=2),
        "universal": presets.universal(e["class"], 0.5, backward=0.1, backward_iterations=2),
        "mpgd": presets.mpgd(e["near"], 0.2),
        "tfg": presets.tfg(e["near"], rho=0.1, mu=0.1, draws=2, iterations=2, recurrences=2),
        "elucd": presets.elucd(e["class"], 0.5),
        "steered": presets.steered(e["near"], 0.1),
        "repeated": presets.repeated(2),
        "two": presets.dps(e["norm"], 0.2) + presets.mpgd(e["class"], 0.1),
        "measured": presets.universal(e["measured"], 0.2),
    }
    found: dict[str, Any] = {"none": lambda d, s: (d, s)}
    for weight in (0.0, 1.0, 2.0):
        found[f"cfg {weight:g}"] = lambda d, s, w=weight: (ClassifierFree(d, w), s)
    found["cfg interval"] = lambda d, s: (ClassifierFree(d, interval(2.0, 0.3, 3.0)), s)
    found["auto"] = lambda d, s: (Autoguidance(d, network(d.process, seed=1, width=16), 1.7), s)
    found["gradient-free"] = lambda d, s: (GradientFree(d, logits, 1.5), s)
    found["projected"] = lambda d, s: (Projected(d, Inpainting(MASK), TARGET * MASK, within=(-1, 1)), s)
    found["routed"] = lambda d, s: (Routed([d, network(d.process, seed=2)], ByNoiseLevel([1.0])), s)
    found["kicked"] = lambda d, s: (d, KickedSampler(s, e["class"], 0.05))
    for name, push in pushes.items():
        found[name] = lambda d, s, push=push: (d, push.sampler(s))
    found["cfg and dps"] = lambda d, s: (ClassifierFree(d, 2.0), pushes["dps"].sampler(s))
    return found


def drawn(process: Any, sampler: Any, guide: Any, **settings: Any) -> Any:
    denoiser, chosen = guide(network(process), sampler)
    asked = {"seeds": 5, "n": ROWS, "cond": wv.Condition.vector(IDS), "steps": STEPS, "progress": False}
    made = wv.sample(denoiser, sampler=chosen, **{**asked, **settings})
    parts = [made.x, made.times, made.calls, made.rows_per_sample]
    return [*parts, made.trajectory.x, made.trajectory.x0] if made.trajectory is not None else parts


def sample_cases() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every solver on every process under every guidance, then grids, starts, batches, clipping, search."""
    guides = guided()
    for process_name, process in PROCESSES.items():
        for sampler_name, sampler in SAMPLERS.items():
            for guide_name, guide in guides.items():
                yield f"{process_name}, {sampler_name}, {guide_name}", partial(drawn, process, sampler, guide)
            plain = guides["none"]
            more: dict[str, dict[str, Any]] = {
                "recorded": {"record": True, "clip": 0.8},
                "in batches": {"batch_size": 2},
                "in double": {"dtype": torch.float64},
                **{f"on {grid}": {"grid": grid} for grid in ("uniform", "log_snr", "edm", "quadratic")},
            }
            start = start_from(process, TARGET.expand(ROWS, *SHAPE), 0.6, [1, 2, 3])
            for name, settings in {**more, "from 0.6": {"start": start}}.items():
                made = partial(drawn, process, sampler, plain, **settings)
                yield f"{process_name}, {sampler_name}, {name}", made
    yield from search_cases()


def search_cases() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every search on chains with noise and without."""
    from windvane import search

    reward, cond = energies()["near"], wv.Condition.vector(IDS[:1])
    methods = {
        "best": search.BestOf(),
        "random": search.RandomNoise(),
        "zero order": search.ZeroOrder(),
        "particles": search.FeynmanKac(),
        "tree": None,
    }
    for sampler in (wv.DDPM(), wv.DDIM(), wv.DPMSolverSDE(order=1), wv.UniPC()):
        for name, method in methods.items():

            def run(sampler: Any = sampler, method: Any = method) -> Any:
                chain = search.Chain(network(wv.VPCosine()), sampler=sampler, steps=STEPS, cond=cond)
                if method is None:
                    tree = search.DiffusionTree(chain, reward, seed=3).grow(60, progress=False)
                    return [*tree.best(2), *tree.distribution()]
                budget = search.Budget(network=400)
                found = search.run(method, chain, reward, budget=budget, seed=3, progress=False)
                return [found.x, found.scores]

            yield f"search, {sampler}, {name}", run
