"""Networks compiled by ``torch.compile``, in place, and with a way back where there is no compiler.

Samples of a compiled network are those of the network to float tolerance. What is compiled is kept in
``WINDVANE_CACHE`` (or the user's cache folder), so that the next process starts sooner.
"""

import os
import shutil
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from windvane.cache_folder import cache_folder


class CompileWarning(UserWarning):
    """A network that could not be compiled and runs as it is."""


def compile_networks(denoiser: Any) -> None:
    """Compile every network inside a denoiser, once; the first calls then take up to some minutes.

    On CUDA its convolutions are laid out channels last, as their kernels prefer. Where there is no compiler,
    or the network cannot be compiled, one :class:`CompileWarning` says so and the network runs as it is.
    """
    for network in _networks(denoiser):
        if getattr(network, "_compiled_call_impl", None) is not None:
            continue
        place = next((p.device for p in network.parameters()), torch.device("cpu"))
        missing = _missing(place)
        if missing:
            _say(network, missing)
            continue
        if place.type == "cuda":
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        _keep_cache()
        network._compiled_call_impl = _Call(network)  # type: ignore[assignment]


class _Call:
    """The compiled call of a network; after an error of the compiler, the plain one."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.compiled = network, torch.compile(network._call_impl)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.compiled(*args, **kwargs)
        except Exception as error:
            result = self.network._call_impl(*args, **kwargs)  # an error of its own is raised as it is
            self.compiled = self.network._call_impl
            _say(self.network, f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}")
            return result


def _networks(denoiser: Any) -> Iterator[nn.Module]:
    """What the denoisers inside call their network."""
    for module in denoiser.modules() if isinstance(denoiser, nn.Module) else ():
        network = getattr(module, "network", None)
        if isinstance(network, nn.Module):
            yield network


def _missing(device: torch.device) -> str:
    """Why nothing can be compiled for a device; empty where something can."""
    if device.type != "cpu":
        return ""
    named = os.environ.get("CXX")
    if named and shutil.which(named):
        return ""
    if not named and any(shutil.which(name) for name in ("g++", "clang++", "c++", "cl")):
        return ""
    return f"no C++ compiler was found ({named or 'g++ or clang++'}; the variable CXX names another)"


def _say(network: nn.Module, why: str) -> None:
    name = type(network).__name__
    warnings.warn(f"{name} is not compiled and runs as it is: {why}", CompileWarning, stacklevel=3)


def _keep_cache() -> None:
    """Let the compiler keep its results where windvane keeps its own, unless the user has said where."""
    if "TORCHINDUCTOR_CACHE_DIR" in os.environ:
        return
    folder = cache_folder() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # torch's own folder for temporary files serves, too
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
