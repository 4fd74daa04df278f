"""Wrong types and numbers, at every public constructor and function of the core: one line with the remedy."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

import windvane as wv
from windvane.arguments import numbers, one_of, real, sizes, whole
from windvane.samplers import start_from

PROCESS = wv.VPCosine()
MIXTURE = wv.GaussianMixtureDenoiser(
    [0.3, 0.7], [[1.0, 0.5], [-1.0, -0.3]], [0.05, 0.1], PROCESS, classes=[0, 1]
)


class Net(torch.nn.Module):
    def forward(self, x, time, cond=None):
        return 0.1 * x


#: What is called, and arguments that work.
CALLS = {
    "VPLinear": (wv.VPLinear, {"beta_min": 0.1, "beta_max": 20.0}),
    "VPCosine": (wv.VPCosine, {"lmbda_min": -15.0}),
    "EDM": (wv.EDM, {"sigma_max": 80.0, "sigma_min": 0.002}),
    "PFGMPP": (wv.PFGMPP, {"dof": 128.0, "sigma_max": 80.0, "sigma_min": 0.002}),
    "VPTable": (wv.VPTable, {"alphas_cumprod": [0.9, 0.5, 0.1]}),
    "Condition": (wv.Condition, {"signals": {"vector": torch.tensor([0, 1])}}),
    "Condition.of": (wv.Condition.of, {"vector": torch.tensor([0, 1])}),
    "Condition.vector": (wv.Condition.vector, {"values": torch.tensor([0, 1])}),
    "NetworkDenoiser": (
        wv.NetworkDenoiser,
        {"network": Net(), "process": PROCESS, "parametrisation": "eps", "shape": (2,), "sigma_data": 0.5,
         "time": "index", "autocast": torch.bfloat16},
    ),
    "FunctionDenoiser": (
        wv.FunctionDenoiser, {"function": lambda x, t, c: x, "process": PROCESS, "shape": (2,)},
    ),
    "GaussianDenoiser": (
        wv.GaussianDenoiser, {"mean": [0.0, 0.0], "covariance": 1.0, "process": PROCESS, "shape": (2,)},
    ),
    "GaussianMixtureDenoiser": (
        wv.GaussianMixtureDenoiser,
        {"weights": [0.3, 0.7], "means": [[1.0, 0.5], [-1.0, -0.3]], "covariances": [0.05, 0.1],
         "process": PROCESS, "classes": [0, 1], "shape": (2,)},
    ),
    "ClassifierFree": (wv.ClassifierFree, {"denoiser": MIXTURE, "weight": 2.0}),
    "interval": (wv.interval, {"weight": 2.0, "low": 0.1, "high": 3.0, "outside": 1.0}),
    "DDIM": (wv.DDIM, {"eta": 0.0}),
    "DDPM": (wv.DDPM, {"variance": "small"}),
    "Heun": (wv.Heun, {"churn": 0.0, "s_min": 0.0, "s_max": 50.0, "s_noise": 1.0}),
    "DPMSolverPP": (wv.DPMSolverPP, {"order": 2, "as_released": False, "lower_order_final": True}),
    "DPMSolverSDE": (wv.DPMSolverSDE, {"order": 2, "lower_order_final": True}),
    "DPMSolverSinglestep": (wv.DPMSolverSinglestep, {"order": 2, "orders": (2, 1)}),
    "DPMSolverSinglestep.fast": (wv.DPMSolverSinglestep.fast, {"evaluations": 5, "order": 3}),
    "UniPC": (wv.UniPC, {"order": 2, "variant": "bh2", "corrector": True, "lower_order_final": True}),
    "EVODiff": (wv.EVODiff, {"lower_order_final": True}),
    "count_evaluations": (lambda limit: wv.count_evaluations(limit).__enter__(), {"limit": 3}),
    "load": (wv.load, {"path": "nowhere"}),
    "open_data": (wv.open_data, {"spec": "nowhere"}),
    "cite": (wv.cite, {"slug": "dps"}),
    "start_from": (
        start_from, {"process": PROCESS, "x0": torch.zeros(2, 2), "t": 0.5, "seeds": [0, 1]},
    ),
    "sample": (
        wv.sample,
        {"denoiser": MIXTURE, "seeds": [0, 1], "n": 2, "cond": torch.tensor([0, 1]), "sampler": "ddim",
         "steps": 2, "grid": "uniform", "start": (torch.zeros(2, 2), 1.0), "shape": (2,), "device": "cpu",
         "dtype": torch.float32, "batch_size": 2, "grad": False, "record": False, "before_step": None,
         "after_step": None, "clip": 1.0, "check_finite": True},
    ),
}  # fmt: skip
#: No argument means any of these.
WRONG = [
    math.nan, -math.inf, 1j, {}, {1, 2}, object(), int, wv.DDPM, b"x", np.bool_(True),
    torch.tensor([True, False]), np.array([1j]), -1.5, "no such thing", Counter(), torch.float,
]  # fmt: skip
#: ... but for these.
MEANT = {
    ("Condition.of", "vector", "True, False"), ("Condition.vector", "values", "True, False"),
    ("sample", "sampler", "DDPM"), ("sample", "clip", "-1.5"), ("sample", "dtype", "float32"),
    ("NetworkDenoiser", "autocast", "float32"), ("VPCosine", "lmbda_min", "-1.5"),
    ("ClassifierFree", "weight", "-1.5"), ("interval", "weight", "-1.5"), ("interval", "outside", "-1.5"),
}  # fmt: skip


def argument_pairs():
    return [(name, key) for name, (_, known) in CALLS.items() for key in known]


@pytest.mark.parametrize(("name", "key"), argument_pairs())
def test_what_means_nothing_is_one_line(name, key):
    call, known = CALLS[name]
    quiet = {"progress": False} if name == "sample" else {}
    for value in WRONG:
        if any((name, key) == meant[:2] and meant[2] in repr(value) for meant in MEANT):
            continue
        if type(value) is np.bool_ and type(known[key]) is bool:
            continue
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            call(**{**known, key: value}, **quiet)
            pytest.fail(f"{name}({key}={value!r}) was taken")


@pytest.mark.parametrize(
    ("name", "key"), [p for p in argument_pairs() if type(CALLS[p[0]][1][p[1]]) in (int, float)]
)
def test_a_switch_or_text_is_no_number_and_numbers_of_any_library_are(name, key):
    call, known = CALLS[name]
    quiet = {"progress": False} if name == "sample" else {}
    for value in (True, False, str(known[key]), [known[key]]):
        if key == "clip" and isinstance(value, list):
            continue
        if isinstance(value, list) and key == "covariance":
            continue
        with pytest.raises(ValueError, match=key if key != "weight" else "a guidance weight"):
            call(**{**known, key: value}, **quiet)
    for kind in (np.float32, np.int64) if float(known[key]).is_integer() else (np.float64,):
        if isinstance(known[key], int) and kind is np.float32:
            continue
        call(**{**known, key: kind(known[key])}, **quiet)
        call(**{**known, key: torch.tensor(known[key])}, **quiet)


def test_fields_are_plain_numbers_afterwards():
    """So that they can be written into a file, and compared."""
    made = wv.EDM(np.float32(2), torch.tensor(0.5))
    assert made == wv.EDM(2.0, 0.5) and made.to_config() == {
        "type": "edm",
        "sigma_max": 2.0,
        "sigma_min": 0.5,
    }
    assert type(made.sigma_max) is float and type(wv.UniPC(np.int64(3)).order) is int


def test_bounds_are_said():
    with pytest.raises(ValueError, match=r"^x must be a number > 0 and <= 1, got 2$"):
        real(2, "x", above=0, most=1)
    with pytest.raises(ValueError, match=r"^x must be a finite number, got inf$"):
        real(math.inf, "x")
    with pytest.raises(ValueError, match=r"^x must be an integer >= 1, got 0$"):
        whole(0, "x", least=1)
    with pytest.raises(ValueError, match=r"^x must be one of 'a', 'b', got 'c'$"):
        one_of("c", "x", ("a", "b"))
    with pytest.raises(ValueError, match=r"^x must be a row of sizes such as .*, got 3$"):
        sizes(3, "x")
    with pytest.raises(ValueError, match=r"^x must be finite numbers, got 1 that are not$"):
        numbers([1.0, math.nan], "x")
    assert real(math.inf, "x", finite=False) == math.inf and real(np.float32(0.5), "x", least=0.5) == 0.5


def test_eight_bit_pictures_are_no_start():
    """Their noise was rounded to whole numbers and the sum wrapped round at 256."""
    with pytest.raises(ValueError, match=r"floating point.*8-bit pictures as x / 127.5 - 1.*torch.uint8"):
        start_from(PROCESS, torch.full((2, 3, 4, 4), 200, dtype=torch.uint8), 0.5, seeds=0)


def test_a_callback_keeps_the_precision_of_the_state():
    for dtype in (torch.float32, torch.float64):
        found = wv.sample(
            MIXTURE,
            seeds=0,
            n=2,
            steps=3,
            dtype=dtype,
            progress=False,
            after_step=lambda info: info.x.double() * 0.9,
        )
        assert found.x.dtype == dtype
    with pytest.raises(ValueError, match="a callback returns a tensor to replace x, or None, got 3"):
        wv.sample(MIXTURE, seeds=0, n=2, steps=3, progress=False, after_step=lambda info: 3)


def test_a_grid_by_its_name_is_that_grid():
    drawn = [
        wv.sample(MIXTURE, seeds=0, n=2, steps=5, progress=False, grid=grid).times
        for grid in ("log_snr", wv.grids.log_snr, wv.grids.log_snr(PROCESS, 5).tolist())
    ]
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])


def test_a_schedule_gives_one_weight_for_each_noise_level():
    guided = wv.ClassifierFree(MIXTURE, lambda level: 2.0)
    with pytest.raises(ValueError, match="the weight of ClassifierFree is a schedule.*got float"):
        wv.sample(guided, seeds=0, n=2, cond=torch.tensor([0, 1]), steps=2, progress=False)
