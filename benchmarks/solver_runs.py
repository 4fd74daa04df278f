"""Every solver of the library and of its peers, on one network: what ``sampling.py`` times."""

from collections.abc import Callable
from typing import Any

import torch
from azula_peer import azula_denoiser
from torch import Tensor

import windvane as wv
from windvane import NetworkDenoiser, sample
from windvane.networks.base import Network
from windvane.samplers import Sampler

Run = Callable[[], None]
SHAPE = (1, 8, 8)


def ours(denoiser: NetworkDenoiser, batch: int, calls: int) -> dict[str, Run]:
    """A run of each solver in about ``calls`` network calls."""
    single2, single3 = (wv.DPMSolverSinglestep.fast(calls, order) for order in (2, 3))
    solvers: dict[str, tuple[Sampler, int]] = {
        "DDIM": (wv.DDIM(), calls),
        "DDPM": (wv.DDPM(), calls),
        "Euler": (wv.Euler(), calls),
        "Heun": (wv.Heun(), (calls + 1) // 2),
        "DPM-Solver++ 2M": (wv.DPMSolverPP(order=2), calls),
        "DPM-Solver++ 3M": (wv.DPMSolverPP(order=3), calls),
        "DPM-Solver++ 2S": (single2, len(single2.orders)),
        "DPM-Solver++ 3S": (single3, len(single3.orders)),
        "DPM-Solver++ 2M SDE": (wv.DPMSolverSDE(order=2), calls),
        "UniPC-2": (wv.UniPC(order=2), calls),
        "UniPC-3": (wv.UniPC(order=3), calls),
        "EVODiff": (wv.EVODiff(), calls),
    }

    def run(sampler: Sampler, steps: int) -> Run:
        return lambda: _done(
            sample(denoiser, seeds=0, n=batch, sampler=sampler, steps=steps, progress=False).x
        )

    return {name: run(sampler, steps) for name, (sampler, steps) in solvers.items()}


def with_diffusers(network: Network, batch: int, calls: int) -> dict[str, Run]:
    """The same solvers as schedulers of diffusers, in the loop of its pipelines; it has no EVODiff."""
    import diffusers as d

    half = (calls + 1) // 2
    schedulers: dict[str, tuple[Any, int]] = {
        "DDIM": (d.DDIMScheduler(clip_sample=False), calls),
        "DDPM": (d.DDPMScheduler(clip_sample=False), calls),
        "Euler": (d.EulerDiscreteScheduler(), calls),
        "Heun": (d.HeunDiscreteScheduler(), half),
        "DPM-Solver++ 2M": (d.DPMSolverMultistepScheduler(solver_order=2), calls),
        "DPM-Solver++ 3M": (d.DPMSolverMultistepScheduler(solver_order=3), calls),
        "DPM-Solver++ 2S": (d.DPMSolverSinglestepScheduler(solver_order=2), calls),
        "DPM-Solver++ 3S": (d.DPMSolverSinglestepScheduler(solver_order=3), calls),
        "DPM-Solver++ 2M SDE": (d.DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++"), calls),
        "UniPC-2": (d.UniPCMultistepScheduler(solver_order=2), calls),
        "UniPC-3": (d.UniPCMultistepScheduler(solver_order=3), calls),
    }

    def run(scheduler: Any, steps: int) -> Run:
        def call() -> None:
            scheduler.set_timesteps(steps)
            x = torch.randn(batch, *SHAPE) * scheduler.init_noise_sigma
            with torch.no_grad():
                for t in scheduler.timesteps:
                    eps = network(scheduler.scale_model_input(x, t), t.float().expand(batch), None)
                    x = scheduler.step(eps, t, x).prev_sample

        return call

    return {name: run(scheduler, steps) for name, (scheduler, steps) in schedulers.items()}


def with_azula(network: Network, batch: int, calls: int) -> dict[str, Run]:
    """azula's solvers of the same names, those there are, and its xEAB, which generalises the multistep ones;
    none where it is not installed.
    """
    try:
        from azula import sample as a
    except ImportError:
        return {}

    denoiser = azula_denoiser(network)
    samplers = {
        "DDIM": a.DDIMSampler(denoiser, steps=calls, silent=True),
        "DDPM": a.DDPMSampler(denoiser, steps=calls, silent=True),
        "Euler": a.EulerSampler(denoiser, steps=calls, silent=True),
        "Heun": a.HeunSampler(denoiser, steps=calls // 2, silent=True),
        "DPM-Solver++ 2M": a.xEABSampler(denoiser, order=2, steps=calls, silent=True),
        "DPM-Solver++ 3M": a.xEABSampler(denoiser, order=3, steps=calls, silent=True),
    }

    def run(sampler: Any) -> Run:
        def call() -> None:
            with torch.no_grad():
                sampler(sampler.init((batch, *SHAPE)))

        return call

    return {name: run(sampler) for name, sampler in samplers.items()}


def calls_of(network: Network, run: Run) -> int:
    """How often a run calls the network."""
    made = [0]

    def count(*_: Any) -> None:
        made[0] += 1

    handle = network.register_forward_pre_hook(count)
    try:
        run()
    finally:
        handle.remove()
    return made[0]


def _done(x: Tensor) -> None:
    if not bool(torch.isfinite(x).all()):
        raise RuntimeError("a sample is not finite")
