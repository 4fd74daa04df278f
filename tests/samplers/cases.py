"""The samplers, processes and exact models that the sampler tests share."""

import torch
from torch import nn

import windvane as wv
from windvane.denoiser import NetworkDenoiser
from windvane.exact import GaussianDenoiser, GaussianMixtureDenoiser
from windvane.process import EDM, RectifiedFlow, VPCosine, VPLinear

PROCESSES = [VPLinear(), VPCosine(), EDM(), RectifiedFlow()]

DETERMINISTIC = [
    wv.DDIM(),
    wv.Euler(),
    wv.Heun(),
    wv.DPMSolverPP(order=1),
    wv.DPMSolverPP(order=2),
    wv.DPMSolverPP(order=3),
    wv.UniPC(order=1),
    wv.UniPC(order=2),
    wv.UniPC(order=3, variant="bh1"),
    wv.UniPC(order=3, corrector=False),
    wv.DPMSolverSinglestep(order=2),
    wv.DPMSolverSinglestep(order=3),
]
STOCHASTIC = [wv.DDIM(eta=0.5), wv.DDPM(), wv.DDPM(variance="large"), wv.Heun(churn=5.0), wv.DPMSolverSDE()]
SAMPLERS = DETERMINISTIC + STOCHASTIC


def name(case):
    """A short test id: the class and the settings that are not its defaults."""
    settings = ",".join(f"{k}={v}" for k, v in vars(case).items() if v != getattr(type(case), k, None))
    return f"{type(case).__name__}({settings})"


def gaussian(process):
    """Three dimensions with unlike variances, so that no solver is exact."""
    return GaussianDenoiser([0.5, -0.3, 0.1], [0.9, 0.3, 0.05], process)


def mixture(process):
    """Three separate components in the plane with unlike weights and spreads."""
    means = [[-1.5, 0.0], [1.0, 1.0], [1.0, -1.5]]
    return GaussianMixtureDenoiser([0.5, 0.3, 0.2], means, [[0.1, 0.2], [0.05, 0.1], [0.2, 0.1]], process)


def even_log_snr(process, steps, first=-4.0, last=4.0):
    """Times even in log-SNR between two times well inside (0, 1)."""
    return process.t_of_log_snr(torch.linspace(first, last, steps + 1, dtype=torch.float64))


def run(sampler, denoise, x, times, state=None, noises=None):
    """All steps by hand, without the loop; the last x and state."""
    state = sampler.init(x, times) if state is None else state
    for k in range(len(times) - 1):
        noise = None if noises is None else noises[k]
        x, state = sampler.step(denoise, x, times[k], times[k + 1], state, noise)
    return x, state


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class SmallNetwork(nn.Module):
    """A float32 network with weights of its own, a condition and dropout."""

    def __init__(self):
        super().__init__()
        self.enter, self.leave = nn.Linear(5, 16), nn.Linear(16, 4)
        self.dropout = nn.Dropout(0.5)
        for k, weight in enumerate(self.parameters()):
            weight.data = 0.4 * normal(*weight.shape, seed=k, dtype=torch.float32)

    def forward(self, x, time, cond):
        signal = torch.zeros(len(x)) if cond is None else cond.signals["vector"]
        inputs = torch.cat([x.flatten(1), (signal + time / 1000)[:, None]], dim=1)
        return self.leave(self.dropout(torch.tanh(self.enter(inputs)))).reshape(x.shape)


def small(process=None):
    return NetworkDenoiser(
        SmallNetwork(), process or VPLinear(), parametrisation="x0", shape=(1, 2, 2), time="index"
    )
