"""The presets of gradient guidance by name, with weights that mean the same everywhere.

The papers' scales do not carry over to another energy, sampler or number of steps. Here every preset's push
is made relative (:class:`~windvane.guidance.Guide`): a fraction of what noise leaves unknown, or of the
step's own length. Weight 1 is the preset's usual fraction, 0 is off.

What a preset keeps is where its energy looks, whether the gradient goes through the denoiser, and what it
pushes. Presets that differ in weights, recurrence or energies alone are then one: dps and freedom, universal
and steered, adm and sdg. Of the weights' shapes over the noise levels only tfg's h is kept, which depends on
nothing but the grid; EluCD's is the variance of the sampler's step, and so 0 where that adds no noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from windvane.energies import Energy, Reward
from windvane.guidance import presets
from windvane.guidance.composer import Composer
from windvane.guidance.gradient import GradientGuidance
from windvane.guidance.guide import Guide
from windvane.guidance.guided_sampler import GuidedSampler
from windvane.guidance.step_weights import Shaped, StepWeight
from windvane.guidance.weights import Schedule
from windvane.process import Process, require_gaussian
from windvane.samplers import Sampler


@dataclass(frozen=True)
class Method:
    """A preset, and the fraction that weight 1 stands for.

    Args:
        make: the guidance of an energy with the paper's own weights, but for the one that is given.
        fraction: of the push, at weight 1.
        noisy: whether the energy is asked about x_t itself, and so must be noise-aware.
        ancestral: whether the paper's own weights contain the variance of an ancestral step.
        backward: the same with so many gradient steps on the prediction itself, where the method has them.
    """

    make: Callable[[Energy, float], GradientGuidance]
    fraction: float
    noisy: bool = False
    ancestral: bool = False
    backward: Callable[[Energy, float, int], GradientGuidance] | None = None


def _tfg(energy: Energy, scale: float) -> GradientGuidance:
    return presets.tfg(energy, rho=scale, mu=scale)


def _tfg_steps(energy: Energy, scale: float, steps: int) -> GradientGuidance:
    return presets.tfg(energy, rho=scale, mu=scale, iterations=steps)


def _universal_steps(energy: Energy, scale: float, steps: int) -> GradientGuidance:
    return presets.universal(energy, scale, backward=scale, backward_iterations=steps)


def _adm(energy: Energy, scale: float) -> GradientGuidance:
    return presets.adm(energy, scale, mean_shift=False)


def _sdg(energy: Energy, scale: float) -> GradientGuidance:
    return presets.sdg(energy, scale, mean_shift=False)


#: The fractions are where `windvane steer` begins, and no more: which strength a model bears is what a sweep
#: over them shows.
METHODS = {
    "universal": Method(presets.universal, 0.6, backward=_universal_steps),
    "dps": Method(presets.dps, 0.6),
    "lgd": Method(presets.lgd, 0.7),
    "freedom": Method(presets.freedom, 0.6),
    "mpgd": Method(presets.mpgd, 0.6),
    "tfg": Method(_tfg, 0.25, backward=_tfg_steps),
    "elucd": Method(presets.elucd, 0.2, ancestral=True),
    "steered": Method(presets.steered, 0.6),
    "adm": Method(_adm, 0.6, noisy=True),
    "sdg": Method(_sdg, 0.6, noisy=True),
}
DEFAULT = "universal"


def method(preset: str) -> Method:
    """The preset of a name.

    Raises:
        ValueError: an unknown one.
    """
    if preset not in METHODS:
        raise ValueError(f"unknown preset {preset!r}; known: {', '.join(METHODS)}")
    return METHODS[preset]


def check_noisy(preset: str, blind: Sequence[str]) -> None:
    """Refuse a preset that asks about noisy states where some wishes are ``blind`` to them.

    Raises:
        ValueError: the first of these is named, and the presets that would do; or an unknown preset.
    """
    if method(preset).noisy and blind:
        clean = ", ".join(name for name, other in METHODS.items() if not other.noisy)
        raise ValueError(
            f"the preset {preset!r} asks about noisy states, which {blind[0]} cannot judge; "
            f"take one of {clean}"
        )


def check_method(
    preset: str,
    sampler: Sampler,
    process: Process,
    *,
    paper_scale: bool = False,
    backward: int = 0,
    recurrences: int = 1,
) -> None:
    """Refuse what the preset, the sampler and the process cannot do together; costs nothing.

    Raises:
        ValueError: with the reason.
    """
    energy = Reward(lambda x: x.flatten(1).sum(1))
    made = guidance(energy, 1.0, preset, paper_scale=paper_scale, backward=backward)
    Composer(made.guides, process)
    if recurrences > 1:
        require_gaussian(process, "a step made again")
    has = sampler.stochastic and sampler.traits.gaussian
    if paper_scale and method(preset).ancestral and not has:
        raise ValueError(
            f"the paper's own weights of {preset!r} contain the variance of an ancestral step, which "
            f"{sampler} has not: take ddpm, or ddim with eta=1"
        )


def guidance(
    energy: Energy, weight: float, preset: str = DEFAULT, *, paper_scale: bool = False, backward: int = 0
) -> GradientGuidance:
    """The guidance by one energy.

    Args:
        weight: times the preset's fraction; or the paper's own scale, with ``paper_scale``.
        backward: gradient steps on the prediction itself, without a pass through the denoiser, of universal:
            together as large as its other push, or each of size ``weight`` with ``paper_scale``; and of tfg,
            with ``paper_scale`` only.

    Raises:
        ValueError: an unknown preset; steps backward where the preset has none.
    """
    chosen = method(preset)
    if backward < 0:
        raise ValueError(f"steps backward are at least 0, got {backward}")
    make = chosen.make if backward == 0 else _with_steps(preset, backward)
    if paper_scale:
        return make(energy, weight)
    made = make(energy, 1.0)
    fraction = weight * chosen.fraction
    if backward > 1 and any(g.iterations > 1 and g.after_step for g in made.guides):
        raise ValueError(
            f"{preset!r} makes its steps backward after the sampler's step, where they have no length to be "
            "a fraction of: use them with the paper's own scale"
        )
    return replace(made, guides=tuple(_relative(guide, fraction) for guide in made.guides))


def by_energy(
    sampler: Sampler,
    energy: Energy,
    weight: float = 1.0,
    *,
    preset: str = DEFAULT,
    window: tuple[float, float] | None = None,
) -> GuidedSampler:
    """A sampler guided by one energy; ``window`` (low, high) in sigma / alpha bounds where."""
    made = guidance(energy, weight, preset)
    if window is not None:
        made = replace(made, guides=tuple(replace(guide, window=window) for guide in made.guides))
    return made.sampler(sampler)


def _with_steps(preset: str, steps: int) -> Callable[[Energy, float], GradientGuidance]:
    backward = method(preset).backward
    if backward is None:
        known = ", ".join(name for name, other in METHODS.items() if other.backward is not None)
        raise ValueError(f"{preset!r} has no steps backward; those of {known} have")
    return lambda energy, weight: backward(energy, weight, steps)


def _relative(guide: Guide, fraction: float) -> Guide:
    weight: float | Schedule | StepWeight = fraction
    if isinstance(guide.weight, Shaped):
        weight = replace(guide.weight, scale=fraction, carried=False)
    return replace(guide, weight=weight, relative=True)
