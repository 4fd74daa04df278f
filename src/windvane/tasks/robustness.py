"""How much a model forgives: the quality of its samples where noise is added while sampling."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from windvane.conditions import Condition
from windvane.process import Process
from windvane.randomness import noise_for
from windvane.samplers import Heun, Sampler, StepInfo, sample
from windvane.samplers.plan import Grid

#: Far from the streams of sampling, so that the noise of a stochastic sampler is other noise.
_STREAM_ADDED = 1 << 43


@dataclass(frozen=True)
class Robustness:
    """A metric at each strength of the noise added; prints as a table.

    Args:
        alphas: strengths; ``values``: the metric of the samples at each.
    """

    alphas: tuple[float, ...]
    values: tuple[float, ...]

    def __str__(self) -> str:
        lines = ["alpha        metric"]
        return "\n".join([*lines, *(f"{a:<8g}{value:>11.4g}" for a, value in zip(self.alphas, self.values))])


def robustness(
    denoiser: Any,
    alphas: Sequence[float],
    metric: Callable[[Tensor], float],
    *,
    n: int,
    seeds: int = 0,
    cond: Condition | None = None,
    sampler: Sampler = Heun(),  # noqa: B008 (frozen)
    steps: int = 18,
    grid: Grid | Tensor | None = None,
    clip: float | tuple[float, float] | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> Robustness:
    """The metric of samples with x + alpha sigma(t) eps in place of x before every step, eps standard normal.

    The robustness experiment of PFGM++ (Xu et al. 2023, arXiv 2302.04265), there with the Fréchet distance:
    the noise stands for the errors of a network. At every alpha the samples have the same seeds and the same
    eps, so that the curves of two models can be compared point by point.

    Args:
        denoiser: on any process; sigma(t) is the scale of its noise, a Student-t's too.
        alphas: strengths, 0 for none.
        metric: samples ``(n, *)`` to a number, such as a distance to data.
        n, seeds: how many samples, and the seed of the first.

    Raises:
        ValueError: no or negative strengths, and what sampling itself refuses.
    """
    if not alphas or min(alphas) < 0:
        raise ValueError(f"robustness needs strengths alpha >= 0 of the noise, got {list(alphas)}")
    values = []
    for alpha in alphas:
        drawn = sample(
            denoiser, seeds=seeds, n=n, cond=cond, sampler=sampler, steps=steps, grid=grid, clip=clip,
            batch_size=batch_size, progress=progress, before_step=added(denoiser.process, float(alpha)),
        )  # fmt: skip
        values.append(float(metric(drawn.x)))
    return Robustness(tuple(map(float, alphas)), tuple(values))


def added(process: Process, alpha: float) -> Callable[[StepInfo], Tensor] | None:
    """A callback for ``before_step`` that adds noise of alpha sigma(t), keyed by each sample's seed."""
    if alpha == 0:
        return None

    def noisier(info: StepInfo) -> Tensor:
        eps = noise_for(info.seeds, _STREAM_ADDED + info.index, info.x.shape[1:], dtype=info.x.dtype)
        return info.x + alpha * float(process.sigma(info.t)) * eps.to(info.x.device)

    return noisier
