"""A sampler round another one: what it does not change itself it passes on, in this one place."""

from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from windvane.process import Process
from windvane.samplers.base import Denoise, Grid, Sampler, State, Traits
from windvane.samplers.names import as_sampler


@dataclass(frozen=True)
class WrappedSampler(Sampler):
    """A sampler whose steps are those of ``sampler`` until a subclass changes them.

    Traits, grid, state, evaluations and the end of a run are the inner sampler's. A subclass overrides
    ``step`` and calls ``self.sampler.step`` there, with x or the prediction changed before, or x_s after it;
    where x was changed, the state goes on through :func:`~windvane.samplers.moved`. A step that is overridden
    alone has no Gaussian transition any more; a subclass that has one overrides ``transition``, too.

    Args:
        sampler: or its name.
    """

    sampler: Sampler

    def __post_init__(self) -> None:
        object.__setattr__(self, "sampler", as_sampler(self.sampler))

    @cached_property
    def traits(self) -> Traits:  # type: ignore[override]
        inner, made = self.sampler.traits, type(self)
        known = made.step is WrappedSampler.step or made.transition is not WrappedSampler.transition
        return inner if known or not inner.gaussian else replace(inner, gaussian=False)

    @property
    def own_grid(self) -> Grid | None:  # type: ignore[override]
        return self.sampler.own_grid

    def init(self, x: Tensor, times: Tensor) -> State:
        return self.sampler.init(x, times)

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: State, noise: Tensor | None = None
    ) -> tuple[Tensor, State]:
        return self.sampler.step(denoise, x, t, s, state, noise)

    def transition(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        if not self.traits.gaussian:
            return super().transition(denoise, x, t, s, state)
        return self.sampler.transition(denoise, x, t, s, state)

    def evaluations(self, process: Process, times: Tensor) -> int | None:
        return self.sampler.evaluations(process, times)

    def finished(self) -> None:
        self.sampler.finished()
