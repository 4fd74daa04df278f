"""The network is asked for names that say so, and an offline machine is noticed at once."""

import socket
import sys
import time
from types import SimpleNamespace

import pytest

from windvane import hub_access as network
from windvane.adapters import (
    from_pipeline,
    load_classifier,
    load_sentence_encoder,
    load_text_image,
)
from windvane.adapters.transformers_encoders import load_encoder
from windvane.annotate import HubEncoder
from windvane.annotate.dense import HubPatches
from windvane.data import from_hub, open_data
from windvane.hub_access import ways

LOADERS = [
    from_pipeline, load_classifier, load_sentence_encoder, load_text_image, load_encoder,
    HubEncoder, HubPatches,
]  # fmt: skip


@pytest.fixture
def online(monkeypatch, tmp_path):
    """No switch says that the machine is offline; whoever asks for a connection is caught."""
    asked = []

    def refuse(*place, **options):
        asked.append(place)
        raise OSError("no route to host")

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return asked


@pytest.mark.parametrize("load", LOADERS, ids=lambda load: load.__name__)
@pytest.mark.parametrize(
    "name", ["runz/mlp", "photos", "./runs/none", "/nowhere/run", "hub:./runs/none", "hub:/a"]
)
def test_a_mistyped_path_never_asks(load, name, online):
    with pytest.raises(ValueError, match="hub:") as caught:
        load(name)
    assert not online and "\n" not in str(caught.value)


@pytest.mark.parametrize("load", LOADERS, ids=lambda load: load.__name__)
def test_an_offline_machine_is_told_of_within_a_second(load, online):
    with pytest.raises(ValueError, match="network cannot be reached"):
        load("hub:nobody/warm-up")  # imports
    begin = time.monotonic()
    with pytest.raises(ValueError, match="network cannot be reached"):
        load("hub:nobody/nothing")
    assert time.monotonic() - begin < 1 and online


def test_a_name_that_is_looked_up_for_ever_takes_no_longer(monkeypatch):
    def slow(*place, **options):
        time.sleep(1.5)
        raise OSError("no answer")

    monkeypatch.setattr(socket, "create_connection", slow)
    begin = time.monotonic()
    assert not network.reachable() and time.monotonic() - begin < 1


def test_ways(monkeypatch, tmp_path):
    monkeypatch.setattr(network, "reachable", lambda: True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert ways("hub:a/b", None)[0] == [True, False] and ways("a/b", False)[0] == [True, False]
    assert ways("a/b", None)[0] == ways("hub:a/b", True)[0] == ways(tmp_path, None)[0] == [True]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert ways("hub:a/b", None)[0] == [True]


@pytest.fixture
def stand_in(monkeypatch):
    """A package `datasets` that asks the network unless its switch says no, as the real one does."""
    config = SimpleNamespace(HF_HUB_OFFLINE=False)

    def load_dataset(name, *rest, **options):
        if not config.HF_HUB_OFFLINE:
            socket.create_connection((name, 443))
        raise FileNotFoundError(f"no {name} in the cache")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(config=config, load_dataset=load_dataset))
    monkeypatch.setitem(sys.modules, "datasets.config", config)
    return config


@pytest.mark.parametrize(
    "name", ["runz/set", "photos", "./sets/none", "/nowhere/set", "hub:./set", "hub:/a/b"]
)
def test_a_mistyped_data_set_never_asks(name, online, stand_in):
    with pytest.raises(ValueError, match="network was not asked") as caught:
        from_hub(name)
    assert not online and "\n" not in str(caught.value) and not stand_in.HF_HUB_OFFLINE


def test_a_hub_data_set_is_given_up_within_a_second(online, stand_in, monkeypatch):
    begin = time.monotonic()
    with pytest.raises(ValueError, match="network cannot be reached.*no a/b in the cache"):
        open_data("hub:a/b:train")
    assert time.monotonic() - begin < 1 and len(online) == 1
    monkeypatch.setattr(network, "reachable", lambda: True)
    with pytest.raises(ValueError, match="network was asked.*no route"):
        open_data("hub:a/b")
    assert len(online) == 2
