"""The presets of gradient guidance by name, with weights that mean the same everywhere.

The papers' scales do not carry over to another energy, sampler or number of steps. Here every preset's push
is made relative (:class:`~windvane.guidance.Guide`): a fraction of what noise leaves unknown, or of the
step's own length. Weight 1 is the preset's usual fraction, 0 is off.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from windvane.energies import Energy
from windvane.guidance import GradientGuidance, presets


@dataclass(frozen=True)
class Method:
    """A preset, and the fraction that weight 1 stands for.

    Args:
        make: the guidance of an energy with the paper's own weights, but for the one that is given.
        fraction: of the push, at weight 1.
        noisy: whether the energy is asked about x_t itself, and so must be noise-aware.
    """

    make: Callable[[Energy, float], GradientGuidance]
    fraction: float
    noisy: bool = False


def _tfg(energy: Energy, scale: float) -> GradientGuidance:
    return presets.tfg(energy, rho=scale, mu=scale)


def _adm(energy: Energy, scale: float) -> GradientGuidance:
    return presets.adm(energy, scale, mean_shift=False)


def _sdg(energy: Energy, scale: float) -> GradientGuidance:
    return presets.sdg(energy, scale, mean_shift=False)


METHODS = {
    "universal": Method(presets.universal, 0.3),
    "dps": Method(presets.dps, 0.3),
    "lgd": Method(presets.lgd, 0.3),
    "freedom": Method(presets.freedom, 0.3),
    "mpgd": Method(presets.mpgd, 0.3),
    "tfg": Method(_tfg, 0.2),
    "elucd": Method(presets.elucd, 0.3),
    "steered": Method(presets.steered, 0.3),
    "adm": Method(_adm, 0.3, noisy=True),
    "sdg": Method(_sdg, 0.3, noisy=True),
}
DEFAULT = "universal"


def guidance(
    energy: Energy, weight: float, preset: str = DEFAULT, *, paper_scale: bool = False
) -> GradientGuidance:
    """The guidance by one energy.

    Args:
        weight: times the preset's fraction; or the paper's own scale, with ``paper_scale``.

    Raises:
        ValueError: an unknown preset.
    """
    if preset not in METHODS:
        raise ValueError(f"unknown preset {preset!r}; known: {', '.join(METHODS)}")
    method = METHODS[preset]
    if paper_scale:
        return method.make(energy, weight)
    made = method.make(energy, 1.0)
    relative = (replace(g, weight=weight * method.fraction, relative=True) for g in made.guides)
    return replace(made, guides=tuple(relative))
