"""Guiders of diffusers on every process, against their formulas written out, and against the guided law."""

import math

import pytest
import torch
from diffusers import guiders

import windvane as wv
from windvane.adapters import GuidedByDiffusers
from windvane.adapters.guiders import KNOWN
from windvane.convert import prediction_from_x0, x0_from_prediction
from windvane.current_step import at_step

PROCESSES = [wv.VPLinear(), wv.VPCosine(), wv.EDM(), wv.RectifiedFlow()]
SCALE, ALPHA = 2.5, 8.0


def mixture(process):
    return wv.GaussianMixtureDenoiser(
        [0.5, 0.5], [[-1.0, 0.3], [1.0, -0.2]], [0.16, 0.16], process=process, classes=[0, 1]
    )


def made(name):
    return getattr(guiders, name)(guidance_scale=SCALE)


def plain(c, u):
    return u + SCALE * (c - u)


def zero_star(c, u):
    s = (c * u).sum(1, keepdim=True) / (u.square().sum(1, keepdim=True) + 1e-8)
    return s * u + SCALE * (c - s * u)


def magnitude_aware(c, u):
    ratio = (c - u).norm(dim=1, keepdim=True) / u.norm(dim=1, keepdim=True)
    return u + (1 + (SCALE - 1) * torch.exp(-ALPHA * ratio)) * (c - u)


def tangential(c, u):
    """The part of u along the smaller right singular vector of the pair is taken away (TCFG, algorithm 1)."""
    _, _, right = torch.linalg.svd(torch.stack([c, u], 1).float(), full_matrices=False)
    kept = right.clone()
    kept[:, 1:] = 0
    seen = (u.float()[:, None] @ right.mT @ kept)[:, 0].to(u)
    return seen + SCALE * (c - seen)


FORMULAS = {
    "ClassifierFreeGuidance": plain,
    "ClassifierFreeZeroStarGuidance": zero_star,
    # Without momentum, below its norm and with eta = 1, the projection is put together again.
    "AdaptiveProjectedGuidance": plain,
    "TangentialClassifierFreeGuidance": tangential,
    "MagnitudeAwareGuidance": magnitude_aware,
}


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.kind)
@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("t", [0.9, 0.4])
def test_a_step_is_the_guiders_formula(name, process, t):
    exact = mixture(process)
    guided = GuidedByDiffusers(exact, made(name))
    x = process.perturb(torch.randn(5, 2).double(), torch.tensor(t), torch.randn(5, 2).double())
    times, cond = torch.full((5,), t, dtype=torch.float64), wv.Condition.vector(torch.arange(5) % 2)
    with at_step(3, 10):
        found = guided(x, times, cond)
    kind = "flow" if isinstance(process, wv.RectifiedFlow) or "Zero" in name else "eps"
    assert guided.prediction == kind
    c, u = (prediction_from_x0(process, kind, x, exact(x, times, cc), times) for cc in (cond, cond.null()))
    wanted = x0_from_prediction(process, kind, x, FORMULAS[name](c, u), times)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.kind)
@pytest.mark.parametrize("name", KNOWN)
def test_samples_stay_in_the_range_of_the_guided_law(name, process):
    """A first prediction of 0, given as eps, made a standard deviation of 84 of 0.4."""
    cond = wv.Condition.vector(torch.ones(200, dtype=torch.long))
    settings = {"seeds": 0, "n": 200, "cond": cond, "sampler": wv.DDIM(), "steps": 30, "progress": False}
    ours = wv.sample(wv.ClassifierFree(mixture(process), SCALE), **settings).x
    theirs = wv.sample(GuidedByDiffusers(mixture(process), made(name)), **settings).x
    assert torch.isfinite(theirs).all()
    assert math.isclose(float(theirs.std(0).mean()), float(ours.std(0).mean()), rel_tol=0.6)
    assert (theirs.mean(0) - ours.mean(0)).abs().max() < 0.6


def test_what_the_installed_version_cannot_take_is_said():
    exact = wv.GaussianDenoiser(mean=torch.zeros(12), covariance=torch.ones(12), process=wv.VPCosine())
    images = wv.FunctionDenoiser(
        lambda x, t, c: exact(x.flatten(1), t).reshape(x.shape), wv.VPCosine(), shape=(3, 2, 2)
    )
    guided = GuidedByDiffusers(images, made("MagnitudeAwareGuidance"))
    cond = wv.Condition.vector(torch.tensor([0, 1]))
    try:
        drawn = wv.sample(guided, seeds=0, n=2, cond=cond, steps=3, progress=False)
    except ValueError as error:
        assert "MagnitudeAwareGuidance of the installed diffusers fails" in str(error)
    else:
        assert torch.isfinite(drawn.x).all()


def test_predictions_are_named():
    with pytest.raises(ValueError, match="got prediction='score'"):
        GuidedByDiffusers(mixture(wv.VPCosine()), made("ClassifierFreeGuidance"), prediction="score")
