"""Compiled networks give the samples of plain ones, and a missing compiler stops nothing."""

import warnings

import pytest
import torch
from torch import nn

import windvane as wv
from windvane.compiled import CompileWarning, compile_networks


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x, time, cond=None):
        return torch.tanh(self.layer(x)) + time[:, None] / 1000


def denoiser():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return wv.NetworkDenoiser(Small(), wv.VPCosine(), parametrisation="v", shape=(4,))


def drawn(model, **settings):
    return wv.sample(model, seeds=0, n=3, steps=4, progress=False, **settings).x


def test_a_compiled_network_gives_the_same_samples(tmp_path, monkeypatch):
    monkeypatch.setenv("WINDVANE_CACHE", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    plain = drawn(denoiser())
    model = denoiser()
    with warnings.catch_warnings():
        warnings.simplefilter("error", CompileWarning)
        found = drawn(model, compile=True)
    torch.testing.assert_close(found, plain)
    assert model.network._compiled_call_impl is not None
    assert any((tmp_path / "compiled").rglob("*")), "what was compiled is kept"
    assert list(model.state_dict()) == list(denoiser().state_dict())


def test_without_a_compiler_one_line_says_so_and_samples_are_made(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.warns(CompileWarning, match=r"Small is not compiled.*no C\+\+ compiler.*no-such-compiler"):
        found = drawn(denoiser(), compile=True)
    assert torch.equal(found, drawn(denoiser()))


def test_an_error_of_the_compiler_is_one_line(monkeypatch):
    def broken(call):
        def run(*args, **kwargs):
            raise RuntimeError("backend gave up\nand more")

        return run

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "unused")
    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr("windvane.compiled._missing", lambda device: "")
    with pytest.warns(CompileWarning, match="RuntimeError: backend gave up$") as said:
        found = drawn(denoiser(), compile=True)
    assert len([w for w in said if w.category is CompileWarning]) == 1
    assert torch.equal(found, drawn(denoiser()))


def test_an_error_of_the_network_itself_is_raised():
    model = denoiser()
    compile_networks(model)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model.network(torch.zeros(2, 5), torch.zeros(2))
