"""Any solver with any guidance on any process gives finite samples, or says why it cannot."""

import pytest
import torch

from windvane.compress import stitched
from windvane.conditions import Condition
from windvane.denoiser import Denoiser, FunctionDenoiser
from windvane.energies import ClassLogProb, Reward
from windvane.exact import GaussianMixtureDenoiser
from windvane.guidance import (
    Autoguidance,
    ClassifierFree,
    GradientFree,
    KickedSampler,
    Projected,
    interval,
    presets,
)
from windvane.operators import Inpainting
from windvane.point_set import PointsDenoiser
from windvane.process import EDM, PFGMPP, RectifiedFlow, VPCosine, VPLinear
from windvane.samplers import DDIM, EVODiff, UniPC, sample

from .test_matrix import HEAVY_TAILED, PROCESSES, SAMPLERS

MEANS = torch.tensor([[-1.0, 0.3, 0.2], [1.0, -0.4, 0.1], [0.2, 1.0, -0.6]], dtype=torch.float64)
N, STEPS = 3, 5
COND = Condition.vector(torch.arange(N) % 3)


class ClassPoints(Denoiser):
    """The exact denoiser of points in classes, for noise of any law."""

    def __init__(self, points, process):
        super().__init__(process, points.shape[2:])
        self.parts = torch.nn.ModuleList([PointsDenoiser(of, process) for of in points])
        self.whole = PointsDenoiser(points.flatten(0, 1), process)

    def forward(self, x_t, t, cond=None):
        answer = self.whole(x_t, t)
        if cond is None:
            return answer
        ids, present = cond.signals["vector"], cond.present["vector"]
        found = torch.stack([part(x_t, t) for part in self.parts])[ids.clamp(0), torch.arange(len(x_t))]
        return torch.where(present[:, None], found, answer)


def exact(process, width=0.15):
    if process.gaussian:
        return GaussianMixtureDenoiser([1.0] * 3, MEANS, [width] * 3, process, classes=[0, 1, 2])
    draws = torch.randn(3, 12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return ClassPoints(MEANS[:, None] + width**0.5 * draws, process)


def logits(x):
    return -(torch.cdist(x.double(), MEANS) ** 2)


KIND = ClassLogProb(lambda x: (0.05 * logits(x)).log_softmax(1), 1)
REWARD = Reward(lambda x: -(x - 0.5).square().sum(1))
INPAINT = Inpainting(torch.tensor([1, 0, 1]))
KNOWN = torch.tensor([[0.4, 0.0, -0.2]], dtype=torch.float64)

#: name -> (denoiser of the main and a weaker model, sampler round a sampler)
DENOISERS = {
    "classifier-free": lambda d, weak: ClassifierFree(d, 2.0),
    "classifier-free in an interval": lambda d, weak: ClassifierFree(d, interval(3.0, 0.1, 3.0)),
    "autoguidance": lambda d, weak: Autoguidance(d, weak, 1.8),
    "gradient-free": lambda d, weak: GradientFree(d, lambda x: 0.3 * logits(x), 1.5),
    "gradient": lambda d, weak: presets.steered(REWARD, 0.2).denoiser(ClassifierFree(d, 1.5)),
    "projected": lambda d, weak: Projected(d, INPAINT, KNOWN),
    "stitched by steps": lambda d, weak: ClassifierFree(stitched([weak, d], [0.4, 0.6]), 2.0),
    "stitched by time": lambda d, weak: stitched([ClassifierFree(weak, 2.0), d], [0.5, 0.5], by="t"),
    "stitched by log-SNR": lambda d, weak: stitched(
        [weak, Autoguidance(d, weak, 2.0)], [0.5, 0.5], by="log_snr"
    ),
    "all at once": lambda d, weak: presets.steered(REWARD, 0.1).denoiser(
        Projected(
            ClassifierFree(stitched([weak, Autoguidance(d, weak, 1.5)], [0.4, 0.6]), 2.0), INPAINT, KNOWN
        )
    ),
}
AROUND = {
    "dps": lambda s: presets.dps(REWARD, 0.3).sampler(s),
    "freedom": lambda s: presets.freedom(KIND, 0.2).sampler(s),
    "kicked": lambda s: KickedSampler(s, KIND),
}
#: What renoises, or pushes the score: Gaussian noise only.
GAUSSIAN_ONLY = {
    "recurrence": lambda s: presets.repeated(2).sampler(s),
    "universal": lambda s: presets.universal(REWARD, 0.1, recurrences=2).sampler(s),
    "adm": lambda s: presets.adm(KIND, 0.5, mean_shift=False).sampler(s),
}


def draw(denoiser, sampler):
    """All states, (steps + 1, N, 3): samples alone may end in the same point of few."""
    made = sample(
        denoiser, seeds=0, n=N, cond=COND, sampler=sampler, steps=STEPS, progress=False,
        dtype=torch.float64, record=True,
    )  # fmt: skip
    return made.trajectory.x


def pair(process):
    return exact(process), exact(process, 0.4)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
@pytest.mark.parametrize("process", [*PROCESSES, HEAVY_TAILED], ids=lambda p: p.kind)
def test_any_solver_with_any_guidance_on_any_process(sampler, process):
    model, weak = pair(process)
    if sampler.stochastic and not process.gaussian:
        with pytest.raises(ValueError, match="needs Gaussian noise; PFGMPP"):
            draw(model, sampler)
        return
    plain = draw(model, sampler)
    for name, guided in DENOISERS.items():
        x = draw(guided(model, weak), sampler)
        assert bool(torch.isfinite(x).all()) and not torch.allclose(x, plain), name
        assert float(x[-1].abs().max()) < 30, name
    around = AROUND | (GAUSSIAN_ONLY if process.gaussian else {})
    for name, wrap in around.items():
        x = draw(model, wrap(sampler))
        assert bool(torch.isfinite(x).all()) and not torch.allclose(x, plain), name


@pytest.mark.parametrize("name", GAUSSIAN_ONLY)
def test_what_the_mathematics_forbids_is_refused_with_the_reason(name):
    with pytest.raises(ValueError, match="needs Gaussian noise; PFGMPP"):
        draw(exact(HEAVY_TAILED), GAUSSIAN_ONLY[name](DDIM()))


def test_other_refusals_have_their_reasons_under_guidance_too():
    model, weak = pair(EDM())
    guided = ClassifierFree(stitched([weak, model], [0.5, 0.5]), 2.0)
    from windvane.grids import uniform

    with pytest.raises(ValueError, match="even in log-SNR"):
        sample(guided, seeds=0, n=N, cond=COND, sampler=EVODiff(), steps=6, grid=uniform, progress=False)
    with pytest.raises(ValueError, match="need one process"):
        stitched([exact(VPLinear()), exact(VPCosine())], [0.5, 0.5])
    with pytest.raises(ValueError, match="differ in process"):
        Autoguidance(exact(RectifiedFlow()), exact(PFGMPP(16, 20.0, 0.02)), 2.0)


def test_the_matrix_is_not_blind():
    """A guidance that changes nothing, and a solver that breaks, would be seen."""
    model, _ = pair(VPLinear())
    plain = draw(model, UniPC())
    assert torch.allclose(draw(ClassifierFree(model, 1.0), UniPC()), plain)
    broken = FunctionDenoiser(lambda x, t, cond: x * torch.nan, VPLinear(), shape=(3,))
    with pytest.raises(FloatingPointError):
        draw(ClassifierFree(broken, 2.0), UniPC())
