"""Any energy with any sampler on any process improves its energy, and three guidances mix in one call."""

import pytest
import torch

import windvane as wv
from windvane import energies as every_energy
from windvane.energies import (
    ClassLogProb,
    Decoded,
    Energy,
    FeatureMatch,
    GramStyle,
    ImageSimilarity,
    Measurement,
    MeasurementNorm,
    Reference,
    Reward,
    TextSimilarity,
)
from windvane.guidance import Autoencoder, GradientGuidance, Guide, OnManifold, presets
from windvane.operators import BlockMean, Inpainting
from windvane.point_set import PointsDenoiser
from windvane.process import EDM, PFGMPP, RectifiedFlow, VPCosine, VPLinear, VPTable
from windvane.registry import entries
from windvane.samplers import sample

from .guided_cases import mixture, normal

TABLE = VPLinear().alpha(torch.linspace(0, 1, 101, dtype=torch.float64)[1:]) ** 2
PROCESSES = [VPLinear(), VPCosine(), EDM(), RectifiedFlow(), VPTable(TABLE.tolist())]
HEAVY_TAILED = PFGMPP(dof=16, sigma_max=20.0, sigma_min=0.02)
DETERMINISTIC = [
    wv.DDIM(),
    wv.Euler(),
    wv.Heun(),
    wv.DPMSolverPP(),
    wv.DPMSolverPP(order=3),
    wv.DPMSolverSinglestep(),
    wv.DPMSolverSinglestep(order=3),
    wv.UniPC(),
    wv.UniPC(order=3, variant="bh1"),
    wv.EVODiff(),
]
STOCHASTIC = [wv.DDIM(eta=0.5), wv.DDPM(), wv.Heun(churn=4.0), wv.DPMSolverSDE()]
SAMPLERS = DETERMINISTIC + STOCHASTIC
SHAPE = (1, 2, 2)
TARGET = torch.tensor([[[[0.9, -0.2], [0.3, 0.7]]]], dtype=torch.float64)
WEIGHT = normal(3, 4, seed=2)


ZERO = torch.zeros(1, 1, 1, 1, dtype=torch.float64)


def wider(z):
    """A decoder of latents: pictures twice as wide."""
    return torch.tanh(torch.cat([z, 0.5 * z.flip(-1)], dim=-1))


def embed(x):
    return torch.tanh(x.flatten(1) @ WEIGHT.to(x).T) + 0.1


def timed(x, t):
    return embed(x)


def maps(x):
    return torch.cat([x, x**2, x.flip(-1) * x], dim=1)


def exact(process):
    """The exact mixture; the exact denoiser of points drawn from it where the noise is not Gaussian."""
    if process.gaussian:
        return mixture(process, SHAPE)
    drawn = sample(mixture(EDM(), SHAPE), seeds=500, n=40, sampler=wv.Heun(), steps=12, progress=False).x
    return PointsDenoiser(drawn, process)


def energies(process):
    classes = mixture(process if process.gaussian else EDM(), SHAPE)
    return {
        "class": ClassLogProb(lambda x: classes.class_log_prob(x, 1e-2), 0),
        "image": ImageSimilarity(timed, Reference(TARGET, process), timed=True),
        "text": TextSimilarity(embed, embed(TARGET)[0]),
        "features": FeatureMatch(maps, TARGET),
        "style": GramStyle(maps, TARGET),
        "reward": Reward(lambda x: -(x - 0.8).square().flatten(1).sum(1)),
        "measurement": Measurement(BlockMean(2), BlockMean(2)(TARGET), std=0.2),
        "norm": MeasurementNorm(Inpainting(torch.tensor([[1, 0], [0, 1]])), TARGET * torch.eye(2).double()),
        "decoded": Decoded(GramStyle(maps, wider(TARGET)), wider),
        "on a manifold": OnManifold(
            Reward(lambda x: x.flatten(1).sum(1)), Autoencoder(torch.tanh, torch.sin)
        ),
        "sum": Reward(lambda x: -(x - 0.5).square().flatten(1).sum(1))
        + 0.3 * Measurement(BlockMean(2), ZERO),
    }


def draw(model, sampler, n=400, steps=8):
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


@pytest.mark.parametrize("sampler", DETERMINISTIC, ids=repr)
def test_any_energy_improves_under_heavy_tailed_noise(sampler):
    """PFGM++ has no score, so a push of it must be scale free; nothing else changes."""
    model = exact(HEAVY_TAILED)
    plain = draw(model, sampler)
    for name, energy in energies(HEAVY_TAILED).items():
        guidance = GradientGuidance((Guide(energy, 0.15, push="score", relative=True),))
        guided = draw(model, guidance.sampler(sampler))
        assert energy(guided).mean() > energy(plain).mean(), name


@pytest.mark.parametrize("sampler", STOCHASTIC, ids=repr)
def test_what_needs_gaussian_noise_is_refused_under_another(sampler):
    guidance = presets.steered(energies(HEAVY_TAILED)["reward"], 0.1)
    with pytest.raises(ValueError, match="needs Gaussian noise; PFGMPP"):
        draw(exact(HEAVY_TAILED), guidance.sampler(sampler))
    for refused in (presets.universal(energies(HEAVY_TAILED)["reward"]), presets.repeated(2)):
        with pytest.raises(ValueError, match="(push of the score|recurrence) needs Gaussian noise"):
            draw(exact(HEAVY_TAILED), refused.sampler(wv.DDIM()))


def test_the_matrix_holds_every_sampler_and_process():
    """A new one must be put into the lists above."""
    kinds = {type(sampler) for sampler in SAMPLERS}
    assert {row.load() for row in entries("sampler")} <= kinds
    known = {type(p) for p in [*PROCESSES, HEAVY_TAILED]}
    assert known == {row.load() for row in entries("process")}


def test_the_matrix_holds_every_energy():
    """A new one must be put into the table above."""
    kinds = {type(energy) for energy in energies(VPCosine()).values()}
    for name in every_energy.__all__:
        made = getattr(every_energy, name)
        if isinstance(made, type) and issubclass(made, Energy) and made is not Energy:
            assert made in kinds, name
    assert OnManifold in kinds


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


@pytest.mark.parametrize("process", [*PROCESSES, HEAVY_TAILED], ids=lambda p: p.kind)
def test_three_guidances_in_one_call(process):
    """Different energies, different places, one call: every energy gains on the unguided samples."""
    model, known = exact(process), energies(process)
    sampler = wv.DDPM() if process.gaussian else wv.DDIM()
    reward, match, norm = known["reward"], known["features"], known["norm"]
    mixed = (
        presets.steered(reward, 0.15) + presets.mpgd(match, 0.1) + presets.freedom(norm, 0.1, relative=True)
    )
    plain, guided = draw(model, sampler), draw(model, mixed.sampler(sampler))
    for energy in (reward, match, norm):
        assert energy(guided).mean() > energy(plain).mean(), energy.name
