"""Samplers by name, and whatever plainly stands for one."""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from windvane.samplers.adopted import AdoptedSampler
from windvane.samplers.ancestral import DDIM, DDPM
from windvane.samplers.base import Sampler
from windvane.samplers.dpmpp import DPMSolverPP
from windvane.samplers.euler import Euler, Heun
from windvane.samplers.evodiff import EVODiff
from windvane.samplers.sde import DPMSolverSDE
from windvane.samplers.singlestep import DPMSolverSinglestep
from windvane.samplers.unipc import UniPC

#: The samplers of the command line, with their usual settings.
NAMED: dict[str, Callable[[], Sampler]] = {
    "ddpm": DDPM,
    "ddim": DDIM,
    "euler": Euler,
    "heun": Heun,
    "dpm++2s": lambda: DPMSolverSinglestep(order=2),
    "dpm++3s": lambda: DPMSolverSinglestep(order=3),
    "dpm++2m": lambda: DPMSolverPP(order=2),
    "dpm++3m": lambda: DPMSolverPP(order=3),
    "dpm++sde": lambda: DPMSolverSDE(order=1),
    "dpm++2m-sde": lambda: DPMSolverSDE(order=2),
    "unipc2": lambda: UniPC(order=2),
    "unipc3": lambda: UniPC(order=3),
    "evodiff": EVODiff,
}


def as_sampler(value: Any) -> Sampler:
    """A sampler as it is; one by its name in :data:`NAMED`; a class of samplers with its usual settings.

    Raises:
        ValueError: anything else, with what to give instead.
    """
    if isinstance(value, str):
        if value.lower() in NAMED:
            return NAMED[value.lower()]()
        close = get_close_matches(value.lower(), NAMED, n=1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"there is no sampler {value!r}{meant} Known: {', '.join(NAMED)}")
    if isinstance(value, type):
        if not hasattr(value, "step"):
            raise ValueError(
                f"sampler= takes a sampler such as windvane.DDIM(), got the class {value.__name__}"
            )
        try:
            return as_sampler(value())
        except TypeError as error:
            raise ValueError(f"{value.__name__} has settings to choose: {error}; pass an instance") from None
    if isinstance(value, Sampler):
        return value
    if all(hasattr(value, name) for name in ("stochastic", "init", "step")):
        return AdoptedSampler(value)
    name = type(value).__name__
    if callable(getattr(value, "sampler", None)):
        raise ValueError(
            f"a {name} guides a sampler and is none: pass sampler=guidance.sampler(windvane.DDIM())"
        )
    raise ValueError(
        f"sampler= takes a sampler such as windvane.DDIM() or its name ({', '.join(NAMED)}), got {name}"
    )
