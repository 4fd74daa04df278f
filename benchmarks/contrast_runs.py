"""What the guidance benchmark runs of contrasts: two predictions a step, here and in other libraries."""

from typing import Any

import torch
from azula_peer import azula_denoiser
from guidance_runs import SHAPE, Run
from torch import nn

from windvane import Condition, NetworkDenoiser, VPTable, sample
from windvane.denoiser import Denoiser
from windvane.energies import ClassLogProb
from windvane.evaluations import count_evaluations
from windvane.guidance import Autoguidance, ClassifierFree, GradientFree, KickedSampler, interval
from windvane.networks import preset
from windvane.randomness import scoped_seed
from windvane.samplers import DDIM, Sampler

CLASSES, WEIGHT = 10, 2.0


def conditional() -> NetworkDenoiser:
    """The small UNet with random weights and ten classes, a noise predictor on DDPM's discrete schedule."""
    from diffusers import DDIMScheduler

    with scoped_seed(0):
        network = preset("unet-digits", shape=SHAPE, vector=CLASSES).eval().requires_grad_(False)
    scheduler: Any = DDIMScheduler()
    return NetworkDenoiser(network, VPTable(scheduler.alphas_cumprod.double().tolist()), shape=SHAPE)


def classes(n: int) -> Condition:
    """Every class as often as any other."""
    return Condition.vector(torch.arange(n) % CLASSES)


def contrasts(denoiser: NetworkDenoiser) -> dict[str, tuple[Denoiser, Sampler]]:
    """Every contrast of the library, and the kick, on the deterministic sampler."""
    with scoped_seed(1):
        classifier = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, CLASSES)).eval()
    kick = KickedSampler(DDIM(), ClassLogProb(classifier.requires_grad_(False), 0))
    return {
        "conditional, unguided": (denoiser, DDIM()),
        "classifier-free": (ClassifierFree(denoiser, WEIGHT), DDIM()),
        "classifier-free in an interval": (ClassifierFree(denoiser, interval(WEIGHT, 0.19, 3.2)), DDIM()),
        "autoguidance, as large a weak model": (Autoguidance(denoiser, conditional(), WEIGHT), DDIM()),
        "gradient-free": (GradientFree(denoiser, classifier, WEIGHT), DDIM()),
        "elucd's kick": (denoiser, kick),
    }


def ours(denoiser: Denoiser, sampler: Sampler, n: int, steps: int) -> Run:
    """Windvane's loop."""

    def run() -> None:
        sample(denoiser, seeds=0, n=n, cond=classes(n), sampler=sampler, steps=steps, progress=False)

    return run


def rows_of(denoiser: Denoiser, sampler: Sampler, steps: int = 10) -> float:
    """Rows of the network a sample and step."""
    with count_evaluations() as count:
        ours(denoiser, sampler, 2, steps)()
    return count.rows / (2 * steps)


def bare_twice(denoiser: NetworkDenoiser, n: int, steps: int) -> Run:
    """One network call a step of conditional and unconditional rows, and nothing else."""
    x, times = torch.randn(2 * n, *SHAPE), torch.full((2 * n,), 500.0)
    cond = Condition.cat([classes(n), classes(n).null()])

    def run() -> None:
        with torch.no_grad():
            for _ in range(steps):
                denoiser.network(x, times, cond)

    return run


def with_diffusers(denoiser: NetworkDenoiser, n: int, steps: int) -> Run:
    """diffusers' guider and DDIM scheduler round the same network, as its pipelines call them."""
    from diffusers import DDIMScheduler
    from diffusers.guiders import ClassifierFreeGuidance

    guider: Any = ClassifierFreeGuidance(guidance_scale=WEIGHT)
    scheduler: Any = DDIMScheduler(clip_sample=False)
    both = Condition.cat([classes(n), classes(n).null()])

    def run() -> None:
        scheduler.set_timesteps(steps)
        x = torch.randn(n, *SHAPE)
        for k, t in enumerate(scheduler.timesteps):
            guider.set_state(step=k, num_inference_steps=steps, timestep=t)
            with torch.no_grad():
                pair = denoiser.network(torch.cat([x, x]), t.float().expand(2 * n), both).chunk(2)
            x = scheduler.step(guider.forward(*pair).pred, t, x).prev_sample

    return run


def with_azula(denoiser: NetworkDenoiser, n: int, steps: int) -> dict[str, Run]:
    """azula's classifier-free guidance, two calls a step; empty where it is not installed."""
    try:
        from azula.guidance.cfg import CFGDenoiser
        from azula.sample import DDIMSampler
    except ImportError:
        return {}

    guided = CFGDenoiser(azula_denoiser(denoiser.network))
    sampler = DDIMSampler(guided, steps=steps, silent=True)
    positive = {"cond": classes(n)}

    def run() -> None:
        with torch.no_grad():
            # azula's strength is the weight less one.
            sampler(sampler.init((n, *SHAPE)), positive=positive, guidance=WEIGHT - 1)

    return {"classifier-free": run}
