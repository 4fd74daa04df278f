"""A contrast whose weight leaves the data's range says so at the end of a run; usual ones do not."""

import warnings

import pytest
import torch

import windvane as wv
from windvane.adapters import GuidedByDiffusers
from windvane.guidance import Autoguidance, GuidanceWarning


def mixture(process, width=0.1):
    return wv.GaussianMixtureDenoiser(
        [0.5, 0.5], [[1.0, 0.5], [-1.0, -0.3]], [width, width], process, classes=[0, 1]
    )


def guided(kind, process, weight):
    model = mixture(process)
    if kind == "classifier-free":
        return wv.ClassifierFree(model, weight)
    if kind == "autoguidance":
        return Autoguidance(model, mixture(process, 0.5), weight)
    from diffusers.guiders import ClassifierFreeGuidance

    return GuidedByDiffusers(model, ClassifierFreeGuidance(guidance_scale=float(weight)))


def draw(model):
    cond = torch.zeros(6, dtype=torch.int64)
    quiet = {"progress": False, "dtype": torch.float64}
    return wv.sample(model, seeds=0, n=6, batch_size=3, cond=cond, steps=12, **quiet).x


@pytest.mark.parametrize("kind", ["classifier-free", "autoguidance", "diffusers"])
@pytest.mark.parametrize("process", [wv.VPCosine(), wv.EDM(20.0, 0.02), wv.RectifiedFlow()])
def test_a_weight_that_leaves_the_range_is_said_and_usual_ones_are_not(kind, process):
    with pytest.warns(
        GuidanceWarning, match="left the data's range.*where the first one.*1.5 to 10 are usual"
    ):
        assert float(draw(guided(kind, process, 1e6)).abs().max()) > 100
    with warnings.catch_warnings():
        warnings.simplefilter("error", GuidanceWarning)
        for weight in (1.5, 8.0):
            draw(guided(kind, process, weight))
