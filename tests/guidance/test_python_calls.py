"""How many of the library's own Python functions a guided step calls: on small models they are its cost."""

import sys

import pytest
import torch

import windvane as wv
from windvane.energies import Measurement
from windvane.guidance import presets
from windvane.networks import ResidualMLP
from windvane.operators import Matrix


def denoiser():
    return wv.NetworkDenoiser(ResidualMLP.build(shape=(2,), vector=4), wv.VPCosine(), shape=(2,)).eval()


def classifier_free(steps):
    cond = wv.Condition.vector(torch.arange(8) % 4)
    return wv.sample(wv.ClassifierFree(denoiser(), 2.0), seeds=0, n=8, cond=cond, steps=steps)


def posterior(steps):
    energy = Measurement(Matrix(torch.tensor([[1.0, 0.0]])), torch.zeros(8, 1))
    return wv.sample(denoiser(), seeds=0, n=8, steps=steps, sampler=presets.dps(energy, 1e-4).sampler("ddim"))


def calls(run, steps):
    made = 0

    def count(frame, event, _):
        nonlocal made
        made += event == "call" and "windvane" in frame.f_code.co_filename

    sys.setprofile(count)
    try:
        run(steps)
    finally:
        sys.setprofile(None)
    return made


@pytest.mark.parametrize(("run", "most"), [(classifier_free, 66), (posterior, 118)])
def test_a_guided_step_makes_few_python_calls(run, most):
    calls(run, 2)  # what is imported and remembered once
    assert (calls(run, 20) - calls(run, 10)) / 10 <= most
