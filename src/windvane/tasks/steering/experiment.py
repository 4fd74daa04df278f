"""Samples with and without guidance, from the same seeds."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.denoiser import Denoiser
from windvane.guidance import GuidanceWarning, presets
from windvane.guidance.composer import own_signals, without
from windvane.guidance.methods import DEFAULT
from windvane.samplers import DDIM, Sampler, sample
from windvane.samplers.plan import Grid, resolve_cond
from windvane.tasks.steering.goals import Wish, combined


@dataclass(frozen=True)
class Arm:
    """Samples at one strength.

    Args:
        factor: what every weight was multiplied by; 0 is unguided.
        evaluations: of the network, per sample.
        warnings: what guidance had to say, such as that it changed nothing.
    """

    factor: float
    x: Tensor
    seeds: Tensor
    evaluations: float
    warnings: tuple[str, ...] = ()
    scores: dict[str, float] = field(default_factory=dict)


def steer(
    denoiser: Denoiser,
    wishes: Sequence[Wish],
    *,
    seeds: int | Sequence[int],
    n: int | None = None,
    factor: float = 1.0,
    preset: str = DEFAULT,
    paper_scale: bool = False,
    backward: int = 0,
    recurrences: int = 1,
    sampler: Sampler = DDIM(),  # noqa: B008 (frozen)
    steps: int = 50,
    grid: Grid | Tensor | str | None = None,
    cond: Condition | None = None,
    shape: Sequence[int] | None = None,
    batch_size: int | None = None,
    clip: float | None = 1.0,
    progress: bool = True,
    score: bool = True,
) -> Arm:
    """Samples of ``denoiser`` steered by the wishes; with ``factor`` 0 plain samples, bit for bit.

    Args:
        factor: multiplies every weight.
        preset: a name in :data:`~windvane.tasks.steering.METHODS`.
        paper_scale: weights are the paper's own instead of fractions.
        backward: gradient steps on the prediction, see :func:`~windvane.tasks.steering.guidance`.
        recurrences: how often each guided step is made.
        cond: of the denoiser, and the signals that hold the wishes' targets where these differ by sample.
        score: whether the guides give their own opinion of the finished samples.

    Raises:
        ValueError: wishes that do not fit the preset or each other; an energy of the wrong shape or without
            a gradient.
        FloatingPointError: an energy, a gradient or a sample that is not finite.
    """
    guidance = combined(wishes, preset=preset, factor=factor, paper_scale=paper_scale, backward=backward)
    guided = (guidance + presets.repeated(recurrences)).sampler(sampler)
    own = own_signals(name for wish in wishes for name in wish.energy.signals)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GuidanceWarning)
        made = sample(
            denoiser, seeds=list(seeds) if not isinstance(seeds, int) else seeds, n=n,
            cond=without(cond, own) if factor == 0 else cond, sampler=sampler if factor == 0 else guided,
            steps=steps, grid=grid, shape=shape, batch_size=batch_size, clip=clip, progress=progress,
        )  # fmt: skip
    told = [str(w.message) for w in caught if issubclass(w.category, GuidanceWarning)]
    for other in caught:
        if not issubclass(other.category, GuidanceWarning):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    rows = resolve_cond(cond, len(made.x))
    scores = {wish.title: _score(wish, made.x, rows, batch_size) for wish in wishes} if score else {}
    return Arm(factor, made.x, made.seeds, made.rows_per_sample, tuple(dict.fromkeys(told)), scores)


def _score(wish: Wish, x: Tensor, cond: Condition | None, size: int | None) -> float:
    """The guide's own opinion of the finished samples, ``size`` at a time: their mean energy."""
    total = 0.0
    with torch.no_grad():
        for first in range(0, len(x), size or len(x)):
            rows = slice(first, first + (size or len(x)))
            part = None if cond is None else cond.index(rows).to(x.device)
            total += float(wish.energy(x[rows], None, part).sum())
    return total / len(x)
