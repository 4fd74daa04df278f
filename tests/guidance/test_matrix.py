"""Any energy with any sampler on any process improves its energy, and three guidances mix in one call."""

import pytest
import torch

from windvane.energies import (
    ClassLogProb,
    FeatureMatch,
    GramStyle,
    ImageSimilarity,
    Measurement,
    MeasurementNorm,
    Reference,
    Reward,
    TextSimilarity,
)
from windvane.guidance import GradientGuidance, Guide, presets
from windvane.operators import BlockMean, Inpainting
from windvane.process import EDM, RectifiedFlow, VPCosine, VPLinear, VPTable
from windvane.samplers import DDIM, DDPM, DPMSolverPP, Euler, Heun, UniPC, sample

from .guided_cases import mixture, normal

TABLE = VPLinear().alpha(torch.linspace(0, 1, 101, dtype=torch.float64)[1:]) ** 2
PROCESSES = [VPLinear(), VPCosine(), EDM(), RectifiedFlow(), VPTable(TABLE.tolist())]
SAMPLERS = [DDIM(), DDIM(eta=0.5), DDPM(), Euler(), Heun(), Heun(churn=4.0), DPMSolverPP(), UniPC()]
SHAPE = (1, 2, 2)
TARGET = torch.tensor([[[[0.9, -0.2], [0.3, 0.7]]]], dtype=torch.float64)
WEIGHT = normal(3, 4, seed=2)


def embed(x):
    return torch.tanh(x.flatten(1) @ WEIGHT.to(x).T) + 0.1


def timed(x, t):
    return embed(x)


def maps(x):
    return torch.cat([x, x**2, x.flip(-1) * x], dim=1)


def energies(process):
    model = mixture(process, SHAPE)
    return {
        "class": ClassLogProb(lambda x: model.class_log_prob(x, 1e-2), 0),
        "image": ImageSimilarity(timed, Reference(TARGET, process), timed=True),
        "text": TextSimilarity(embed, embed(TARGET)[0]),
        "features": FeatureMatch(maps, TARGET),
        "style": GramStyle(maps, TARGET),
        "reward": Reward(lambda x: -(x - 0.8).square().flatten(1).sum(1)),
        "measurement": Measurement(BlockMean(2), BlockMean(2)(TARGET), std=0.2),
        "norm": MeasurementNorm(Inpainting(torch.tensor([[1, 0], [0, 1]])), TARGET * torch.eye(2).double()),
    }


def draw(model, sampler, n=24, steps=8):
    return sample(model, seeds=0, n=n, sampler=sampler, steps=steps, progress=False).x


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.kind)
def test_any_energy_improves(sampler, process):
    model = mixture(process, SHAPE)
    plain = draw(model, sampler)
    for name, energy in energies(process).items():
        guidance = GradientGuidance((Guide(energy, 0.15, push="score", relative=True),))
        guided = draw(model, guidance.sampler(sampler))
        assert energy(guided).mean() > energy(plain).mean(), name


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_any_place_to_push_improves(sampler):
    process = VPCosine()
    model, energy = mixture(process, SHAPE), energies(process)["features"]
    plain = energy(draw(model, sampler)).mean()
    for place in ("score", "x0", "x0_keep_eps", "state"):
        for through in (True, False):
            guide = Guide(energy, 0.1, push=place, through=through, relative=True)
            guided = draw(model, GradientGuidance((guide,)).sampler(sampler))
            assert energy(guided).mean() > plain, (place, through)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.kind)
def test_three_guidances_in_one_call(process):
    """Different energies, different places, one call: every energy gains on the unguided samples."""
    model, known = mixture(process, SHAPE), energies(process)
    reward, match, norm = known["reward"], known["features"], known["norm"]
    mixed = (
        presets.steered(reward, 0.15) + presets.mpgd(match, 0.1) + presets.freedom(norm, 0.1, relative=True)
    )
    plain, guided = draw(model, DDPM()), draw(model, mixed.sampler(DDPM()))
    for energy in (reward, match, norm):
        assert energy(guided).mean() > energy(plain).mean(), energy.name
