"""What the guidance benchmark runs: the network, every preset, and the same updates in other libraries."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from azula_peer import azula_denoiser
from torch import Tensor

from windvane import NetworkDenoiser, VPTable, sample
from windvane.conditions import Condition
from windvane.denoiser import Denoiser
from windvane.energies import MeasurementNorm, Reward
from windvane.evaluations import count_evaluations
from windvane.guidance import GradientGuidance, Guide, StepWeight, presets
from windvane.guidance.step_weights import Step
from windvane.networks import preset
from windvane.operators import BlockMean
from windvane.samplers import DDPM

SHAPE, OPERATOR = (1, 16, 16), BlockMean(2)
Run = Callable[[], None]


def build() -> NetworkDenoiser:
    """The small UNet with random weights, a noise predictor on DDPM's discrete schedule."""
    from diffusers import DDIMScheduler

    torch.manual_seed(0)
    network = preset("unet-digits", shape=SHAPE).eval().requires_grad_(False)
    scheduler: Any = DDIMScheduler()
    table = VPTable(scheduler.alphas_cumprod.double().tolist())
    return NetworkDenoiser(network, table, shape=SHAPE)


def measurement() -> Tensor:
    """y of one picture, the same for all samples."""
    picture = torch.linspace(-1, 1, 256).reshape(1, *SHAPE)
    return OPERATOR(picture)


@dataclass(frozen=True)
class Balanced(StepWeight):
    """alpha_s alpha_t: the weight of pseudo-inverse guidance (azula's PGDM)."""

    scale: float = 1.0

    def __call__(self, step: Step) -> float:
        return self.scale * float(step.process.alpha(step.s) * step.process.alpha(step.t))


def guidances() -> dict[str, GradientGuidance]:
    """Every preset with an energy that costs nothing beside the network."""
    y = measurement()
    norm = MeasurementNorm(OPERATOR, y)
    noisy = Reward(lambda x, t: -(x - 0.5).square().flatten(1).sum(1), timed=True)
    inverse = Reward(lambda x: -0.5 * OPERATOR.pinv(y - OPERATOR(x)).square().flatten(1).sum(1))
    pseudo = GradientGuidance((Guide(inverse, Balanced(), push="state"),))
    return {
        "adm": presets.adm(noisy, 1.0),
        "sdg": presets.sdg(noisy, 1.0),
        "dps": presets.dps(norm, 0.3),
        "lgd": presets.lgd(norm, 0.3),
        "freedom": presets.freedom(norm, 0.3),
        "freedom, relative": presets.freedom(norm, 0.1, relative=True),
        "universal": presets.universal(norm, 0.5),
        "universal, 4 backward": presets.universal(norm, 0.5, backward=0.1, backward_iterations=4),
        "mpgd": presets.mpgd(norm, 0.3),
        "tfg": presets.tfg(norm, rho=0.3, mu=0.1, draws=1, iterations=4),
        "elucd": presets.elucd(norm, 0.3),
        "steered": presets.steered(norm, 0.3),
        "pseudo-inverse": pseudo,
        "dps + mpgd + freedom": presets.dps(norm, 0.1) + presets.mpgd(norm, 0.1) + presets.freedom(norm, 0.1),
    }


def ours(
    denoiser: Denoiser, guidance: GradientGuidance | None, n: int, steps: int, *, low_memory: bool = False
) -> Run:
    """Windvane's loop with the guided ancestral sampler."""
    sampler = DDPM() if guidance is None else guidance.sampler(DDPM(), low_memory=low_memory)

    def run() -> None:
        sample(denoiser, seeds=0, n=n, sampler=sampler, steps=steps, progress=False)

    return run


def bare(denoiser: NetworkDenoiser, n: int, steps: int, *, backward: bool) -> Run:
    """The network calls and nothing else, with their backward pass or without."""
    x, times = torch.randn(n, *SHAPE), torch.full((n,), 500.0)

    def run() -> None:
        for _ in range(steps):
            with torch.set_grad_enabled(backward):
                seen = x.clone().requires_grad_(backward)
                out = denoiser.network(seen, times, None)
            if backward:
                torch.autograd.grad(out.sum(), seen)

    return run


def with_diffusers(denoiser: NetworkDenoiser, n: int, steps: int) -> Run:
    """DPS round diffusers' DDPM scheduler, by hand."""
    from diffusers import DDPMScheduler

    scheduler: Any = DDPMScheduler(clip_sample=False)
    y = measurement()

    def run() -> None:
        scheduler.set_timesteps(steps)
        x = torch.randn(n, *SHAPE)
        for t in scheduler.timesteps:
            seen = x.clone().requires_grad_(True)
            found = scheduler.step(denoiser.network(seen, t.float().expand(n), None), t, seen)
            residual = (y - OPERATOR(found.pred_original_sample)).flatten(1).norm(dim=1)
            (gradient,) = torch.autograd.grad(residual.sum(), seen)
            x = (found.prev_sample - 0.3 * gradient).detach()

    return run


def with_azula(denoiser: NetworkDenoiser, n: int, steps: int) -> dict[str, Run]:
    """azula's counterparts, by the name of ours; empty where it is not installed."""
    try:
        from azula.guidance.dps import DPSSampler
        from azula.guidance.pgdm import PGDMSampler
    except ImportError:
        return {}

    wrapped, y = azula_denoiser(denoiser.network), measurement()
    made = {
        "dps": DPSSampler(wrapped, y, OPERATOR, zeta=0.3, steps=steps, silent=True),
        "pseudo-inverse": PGDMSampler(wrapped, y, OPERATOR, OPERATOR.pinv, eta=1.0, steps=steps, silent=True),
    }

    def runner(sampler: Any) -> Run:
        def run() -> None:
            sampler(sampler.init((n, *SHAPE)))

        return run

    return {name: runner(sampler) for name, sampler in made.items()}


class Watched(Denoiser):
    """Counts the backward passes through a denoiser."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__(denoiser.process, denoiser.shape)
        self.denoiser, self.passes = denoiser, 0

    def _count(self, gradient: Tensor) -> None:
        self.passes += 1

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        out = self.denoiser(x_t, t, cond)
        if out.requires_grad:
            out.register_hook(self._count)
        return out


def calls_of(denoiser: Denoiser, guidance: GradientGuidance | None, steps: int = 5) -> tuple[float, float]:
    """Evaluations and backward passes of the network a step."""
    watched = Watched(denoiser)
    with count_evaluations() as count:
        ours(watched, guidance, 2, steps)()
    return count.calls / steps, watched.passes / steps
