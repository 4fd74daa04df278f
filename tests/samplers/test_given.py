"""What callers give to ``sample``: accepted where the meaning is plain, else one line with the remedy."""

import numpy as np
import pytest
import torch

import windvane as wv
from windvane.energies import Reward
from windvane.guidance import presets
from windvane.registry import find, known_names
from windvane.samplers.names import as_sampler
from windvane.search.chain import InParts

MODEL = wv.GaussianMixtureDenoiser(
    [0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], [0.1, 0.1], process=wv.VPCosine(), classes=[0, 1]
)
IDS = torch.tensor([0, 1, 1])


def draw(model=MODEL, **given):
    settings = {"seeds": 0, "n": 3, "steps": 4, "progress": False} | given
    return wv.sample(model, **settings).x


def short(x, t, cond=None):
    return x[:, :1]


def as_denoiser(function):
    function.process = wv.VPCosine()
    return function


class Net(torch.nn.Module):
    def forward(self, x, time, cond=None):
        return x[:, :1]


@pytest.mark.parametrize(
    "model",
    [
        as_denoiser(short),
        wv.FunctionDenoiser(short, wv.VPCosine()),
        wv.NetworkDenoiser(Net(), wv.VPCosine()),
        wv.NetworkDenoiser(Net(), wv.EDM(), parametrisation="edm"),
        wv.ClassifierFree(wv.FunctionDenoiser(short, wv.VPCosine()), 1.0),
        InParts(as_denoiser(short), 2),
    ],
    ids=lambda m: type(m).__name__,
)
def test_a_prediction_of_another_shape_is_refused_with_both_shapes(model):
    with pytest.raises(ValueError, match=r"returned shape \(\d, 1, 4, 4\) for x_t of shape \(\d, 3, 4, 4\)"):
        draw(model, shape=(3, 4, 4))


def test_a_prediction_of_another_shape_is_refused_under_guidance():
    guided = presets.dps(Reward(lambda x: x.flatten(1).sum(1)), 0.1).sampler(wv.DDIM())
    with pytest.raises(ValueError, match=r"returned shape \(3, 1, 4, 4\)"):
        draw(as_denoiser(short), sampler=guided, shape=(3, 4, 4))


def test_a_prediction_that_is_no_tensor_is_refused():
    with pytest.raises(ValueError, match="returned a dict instead of a tensor"):
        draw(wv.FunctionDenoiser(lambda x, t, c: {"sample": x}, wv.VPCosine()), shape=(2,))


@pytest.mark.parametrize("name", known_names("sampler"))
def test_samplers_by_name_are_those_of_the_command_line(name):
    assert torch.equal(draw(sampler=name), draw(sampler=find("sampler", name).make()))


def test_classes_stand_for_their_usual_settings():
    assert torch.equal(draw(sampler=wv.DDIM), draw(sampler=wv.DDIM()))
    made = wv.GaussianDenoiser(mean=[0.0], covariance=[1.0], process=wv.VPCosine)
    assert made.process == wv.VPCosine()
    assert wv.FunctionDenoiser(short, "vp_linear").process == wv.VPLinear()


def test_integers_of_any_library_and_ids_in_a_tensor():
    plain = draw(seeds=3, n=2)
    assert torch.equal(draw(seeds=np.int64(3), n=np.int64(2), steps=np.int32(4)), plain)
    assert torch.equal(draw(seeds=torch.tensor(3), n=2), plain)
    assert torch.equal(draw(seeds=np.uint8(3), n=None), plain[:1])
    assert torch.equal(draw(cond=IDS), draw(cond=wv.Condition.vector(IDS)))
    assert torch.equal(draw(cond=IDS.int()), draw(cond=wv.Condition.vector(IDS)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sampler": "dmp++2m"}, "did you mean 'dpm\\+\\+2m'"),
        ({"sampler": presets.dps(Reward(lambda x: x.sum(1)), 0.1)}, r"sampler=guidance.sampler\("),
        ({"sampler": wv.VPCosine}, "got the class VPCosine"),
        ({"sampler": 3}, "takes a sampler such as windvane.DDIM"),
        ({"seeds": [0.2, 0.7], "n": None}, "a seed must be an integer, got 0.2"),
        ({"seeds": 2**63}, r"0 \.\.\. 2\*\*63 - 1"),
        ({"seeds": "7"}, "seeds must be an integer"),
        ({"steps": "4"}, "steps must be an integer >= 1, got '4'"),
        ({"steps": 2.5}, "steps must be an integer"),
        ({"steps": 0}, "steps must be an integer >= 1"),
        ({"cond": 3}, "Condition.vector"),
        ({"cond": torch.tensor([0.5, 0.5, 1.0])}, "class ids"),
        ({"cond": {"vector": IDS}}, "got a dict"),
        ({"model": lambda x, t: x}, "windvane.FunctionDenoiser"),
        ({"model": Net()}, r"windvane.NetworkDenoiser\(Net"),
        ({"model": "run"}, "windvane.load opens one"),
        ({"model": wv.ClassifierFree(MODEL, 2.0)}, "needs a condition"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value[:20],
)
def test_what_is_wrong_is_one_line_with_the_remedy(given, message):
    with pytest.raises(ValueError, match=message) as caught:
        draw(**given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("weight", ["2", None, True, [1.0, 2.0], float("nan")], ids=str)
def test_weights_are_numbers_or_schedules(weight):
    with pytest.raises(ValueError, match="a guidance weight"):
        wv.ClassifierFree(MODEL, weight)


@pytest.mark.parametrize("network", [lambda x: x, torch.nn.Linear, MODEL], ids=range(3))
def test_what_is_no_network_is_refused(network):
    with pytest.raises(ValueError, match="network"):
        wv.NetworkDenoiser(network, wv.VPCosine())


def test_a_network_that_takes_no_time_is_refused_when_it_is_called():
    with pytest.raises(ValueError, match=r"called as network\(x, time, cond\), which Linear.forward"):
        draw(wv.NetworkDenoiser(torch.nn.Linear(2, 2), wv.VPCosine(), shape=(2,)))


@pytest.mark.parametrize("process", ["cosine", 3, wv.DDIM, None], ids=range(4))
def test_processes_are_refused_by_name(process):
    with pytest.raises(ValueError, match="takes a noise process such as windvane.VPCosine"):
        wv.FunctionDenoiser(short, process)


def test_as_sampler_leaves_samplers_alone():
    sampler = wv.DPMSolverPP(order=3)
    assert as_sampler(sampler) is sampler
