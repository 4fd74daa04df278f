"""Search methods by name, with their own settings as NAME=VALUE."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from windvane.search import Chain, DiffusionTree, Method, Verifier

Settings = dict[str, Any]

#: Every method's settings with their defaults; the types of the defaults are those of the values.
METHODS: dict[str, Settings] = {
    "best-of": {},
    "random": {"final_steps": 0},
    "zero-order": {"neighbours": 4, "cosine": 0.95, "on_stall": "restart", "final_steps": 0},
    # In noise level, which means the same on every process.
    "paths": {"keep": 2, "expand": 4, "start": 2.0, "forward": 0.8, "backward": 1.2, "unit": "noise_level"},
    "fk": {"particles": 64, "lam": 1.0, "ess": 0.5, "every": 1, "resampling": "systematic", "keep": 1024},
    "dts": {"lam": 1.0, "branch_at": "", "widening": 2.0, "exponent": 0.8, "explore": 0.0},
    "dts-star": {"lam": 5.0, "branch_at": "", "widening": 1.0, "exponent": 0.5, "c_uct": 1.0},
}
TREES = ("dts", "dts-star")
STOCHASTIC = (*TREES, "fk")


def settings_for(method: str, given: list[str]) -> Settings:
    """The method's settings, with those in ``NAME=VALUE`` put in."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; take {', '.join(METHODS)}")
    found = dict(METHODS[method])
    for text in given:
        name, mark, value = text.partition("=")
        if not mark or name not in found:
            known = ", ".join(f"{key}={default}" for key, default in METHODS[method].items()) or "none"
            raise ValueError(f"--with {text}: the settings of {method} are {known}")
        kind = type(found[name])
        try:
            found[name] = kind(value)
        except ValueError:
            raise ValueError(f"--with {text}: {name} takes a {kind.__name__}") from None
    return found


def build_method(method: str, settings: Settings, *, final: "Chain | None") -> "Method":
    """A method in rounds."""
    from windvane.search import BestOf, FeynmanKac, Paths, RandomNoise, ZeroOrder

    own = {name: value for name, value in settings.items() if name != "final_steps"}
    if method == "best-of":
        return BestOf()
    if method == "random":
        return RandomNoise(final=final)
    if method == "zero-order":
        return ZeroOrder(final=final, **own)
    return Paths(repeats=None, **own) if method == "paths" else FeynmanKac(sweeps=None, **own)


def build_tree(
    method: str, settings: Settings, chain: "Chain", reward: "Verifier", *, seed: int, folder: Path
) -> "DiffusionTree":
    """An empty tree, which keeps its states in a file in ``folder``."""
    from windvane.search import DiffusionTree

    own = {name: value for name, value in settings.items() if name != "branch_at"}
    text = settings["branch_at"]
    try:
        levels = [int(step) for step in text.split(",")] if text else None
    except ValueError:
        raise ValueError(f"branch_at takes steps such as 10,20,30, got {text!r}") from None
    star = method == "dts-star"
    return DiffusionTree(chain, reward, branch_at=levels, star=star, seed=seed, folder=folder, **own)
