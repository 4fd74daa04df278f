"""Every network that guides is where the denoiser is; tested on the device "meta", which has shapes only."""

import inspect

import pytest
import torch

from tests.adapters import test_classifiers, tiny_bert, tiny_text
from tests.cli.conftest import shorten_trainings
from windvane.adapters import Classifier, load_classifier, load_text_image
from windvane.cli.common.processes import Processes
from windvane.cli.common.sections import DataSection
from windvane.cli.steer.networks import known_images, make_eyes
from windvane.cli.steer.wishes import WishFlags
from windvane.denoiser import NetworkDenoiser
from windvane.judges import train_judge
from windvane.networks import ResidualMLP
from windvane.process import VPCosine
from windvane.tasks.steering import text_wish
from windvane.tasks.steering.guides import SteeredModel

SHAPE = (3, 20, 20)


@pytest.fixture(autouse=True)
def short_trainings(monkeypatch):
    shorten_trainings(monkeypatch, steps=2)


def target(shape, decode=None):
    """A model on the device "meta"."""
    network = ResidualMLP.build(shape=shape, width=8, blocks=1)
    return SteeredModel(NetworkDenoiser(network, VPCosine(), shape=shape).to("meta"), shape, {}, decode)


def parts(look):
    """The parameters and buffers behind what looks: a module, a bound method, or a function round one."""
    kept = [getattr(look, "__self__", look)]
    if inspect.isfunction(look):
        kept = [cell.cell_contents for cell in look.__closure__ or ()]
        kept = [getattr(part, "__self__", part) for part in kept]
    found = []
    for part in kept:
        if isinstance(part, torch.nn.Module):
            found += [*part.parameters(), *part.buffers()]
        elif hasattr(part, "state_dict"):
            found += [*part.trunk.parameters(), *part.head.parameters()]
    return found


def check_wishes(eyes, shape, *names):
    x, t = torch.zeros(2, *shape, device="meta"), torch.zeros(2, dtype=torch.float64)
    for name in names:
        look = getattr(eyes, name)
        timed = eyes.logits_timed if name == "logits" else eyes.timed
        held = parts(look)
        assert held and {tensor.device.type for tensor in held} == {"meta"}, name
        seen = look(x, t) if timed else look(x)
        for tensor in seen if isinstance(seen, list) else [seen]:
            assert tensor.device.type == "meta", name


def digits():
    return known_images(DataSection(source="digits", holdout=1 / 3), (1, 8, 8))


@pytest.mark.parametrize("latent", [False, True], ids=["pixels", "latents"])
def test_own_networks(latent):
    made = target((1, 8, 8), (lambda z: z) if latent else None)
    eyes = make_eyes(WishFlags(text=("seven",), style=("x",), classes=("3",)), made, digits, 0)
    assert eyes.timed is not latent
    check_wishes(eyes, (1, 8, 8), "image", "maps", "logits")
    assert text_wish(eyes, "seven").energy.embedding.device.type == "meta"


def test_texts_read_by_a_sentence_encoder(tmp_path):
    asked = WishFlags(text=("seven",), encoder=f"sentences:{tiny_bert.save(tmp_path / 'bert')}")
    check_wishes(make_eyes(asked, target((1, 8, 8)), digits, 0), (1, 8, 8), "image", "maps")


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_text_image_models(kind, tmp_path):
    folder = tiny_text.save(kind, tmp_path / kind)
    eyes = make_eyes(WishFlags(text=("red",), encoder=f"{kind}:{folder}"), target(SHAPE), digits, 0)
    check_wishes(eyes, SHAPE, "image", "maps")
    if kind == "siglip":  # CLIP looks at the values of its mask, of which "meta" has none
        assert text_wish(eyes, "red").energy.embedding.device.type == "meta"
    assert next(load_text_image(folder).parameters()).device.type == "cpu"


@pytest.mark.parametrize("suffix", [".pt", ".ts", ".pt2"])
def test_classifiers_in_files(suffix, tmp_path):
    save = {".pt": "save_script", ".ts": "save_trace", ".pt2": "save_program"}[suffix]
    path = tmp_path / f"classifier{suffix}"
    getattr(test_classifiers, save)(path)
    eyes = make_eyes(WishFlags(classes=("1",), classifier=str(path)), target(SHAPE), digits, 0)
    check_wishes(eyes, SHAPE, "logits")
    assert next(load_classifier(path).parameters()).device.type == "cpu"


def test_classifiers_of_transformers_and_judges(tmp_path, monkeypatch):
    known = digits()
    train_judge(known.guide, steps=2, progress=False).save(tmp_path / "judge.safetensors")
    asked = WishFlags(classes=("1",), classifier=str(tmp_path / "judge.safetensors"))
    check_wishes(make_eyes(asked, target((1, 8, 8)), digits, 0), (1, 8, 8), "logits")

    from windvane.adapters import classifiers

    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1200, 3))
    monkeypatch.setattr(classifiers, "load_from_hub", lambda *given, **named: Classifier(network))
    eyes = make_eyes(WishFlags(classes=("1",), classifier="some/name"), target(SHAPE), digits, 0)
    check_wishes(eyes, SHAPE, "logits")


def test_the_model_is_opened_on_the_processes_device(unconditional, windvane, monkeypatch, tmp_path):
    from windvane.cli.common import processes
    from windvane.cli.steer import run as steering_run

    asked = []

    def opened(path, section, *, device):
        asked.append(device)
        raise ValueError("that is enough")

    monkeypatch.setattr(processes, "processes", lambda: Processes(0, 1, "mps"))
    monkeypatch.setattr(steering_run, "open_target", opened)
    result = windvane("steer", unconditional, text="seven", out=tmp_path / "out")
    assert "that is enough" in result.stderr and asked == ["mps"]
