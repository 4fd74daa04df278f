"""How many of the library's own Python functions a guided step calls: on small models they are its cost."""

import sys

import pytest
import torch

import windvane as wv
from windvane.energies import Measurement
from windvane.guidance import presets
from windvane.networks import ResidualMLP
from windvane.operators import Matrix

MODEL = wv.NetworkDenoiser(ResidualMLP.build(shape=(2,), vector=4), wv.VPCosine(), shape=(2,)).eval()
FIT = presets.dps(Measurement(Matrix(torch.tensor([[1.0, 0.0]])), torch.zeros(8, 1)), 1e-4).sampler("ddim")
GUIDED = {
    "classifier-free": {
        "denoiser": wv.ClassifierFree(MODEL, 2.0),
        "cond": wv.Condition.vector(torch.arange(8) % 4),
    },
    "posterior": {"denoiser": MODEL, "sampler": FIT},
}


def calls(name, steps):
    made = 0

    def count(frame, event, _):
        nonlocal made
        made += event == "call" and "windvane" in frame.f_code.co_filename

    wv.sample(**GUIDED[name], seeds=0, n=8, steps=steps, progress=False)  # the grid's times are remembered
    sys.setprofile(count)
    try:
        wv.sample(**GUIDED[name], seeds=0, n=8, steps=steps, progress=False)
    finally:
        sys.setprofile(None)
    return made


@pytest.mark.parametrize(("name", "most"), [("classifier-free", 66), ("posterior", 118)])
def test_a_guided_step_makes_few_python_calls(name, most):
    assert (calls(name, 20) - calls(name, 10)) / 10 <= most
