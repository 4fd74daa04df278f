"""Objects with a sampler's methods that do not derive from :class:`~windvane.samplers.Sampler`."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from windvane.samplers.base import Denoise, Sampler, State, Traits


@dataclass(frozen=True)
class AdoptedSampler(Sampler):
    """A sampler made of any object with ``stochastic``, ``init`` and ``step``, and maybe ``transition``.

    It promises no count of evaluations. ``prefers_log_snr`` and ``needs_log_snr``, by which samplers said
    what :class:`~windvane.samplers.Traits` say now, are heard.
    """

    plain: Any

    def __repr__(self) -> str:
        return repr(self.plain)

    @cached_property
    def traits(self) -> Traits:  # type: ignore[override]
        needs = bool(getattr(self.plain, "needs_log_snr", False))
        prefers = needs or bool(getattr(self.plain, "prefers_log_snr", False))
        return Traits(
            stochastic=bool(self.plain.stochastic),
            gaussian=hasattr(self.plain, "transition"),
            grid="log_snr" if prefers else None,
            needs_grid=needs,
            memory=bool(getattr(self.plain, "memory", False)),
            evaluations=None,
        )

    @property
    def own_grid(self) -> Any:  # type: ignore[override]
        return getattr(self.plain, "own_grid", None)

    def init(self, x: Tensor, times: Tensor) -> State:
        return self.plain.init(x, times)

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: State, noise: Tensor | None = None
    ) -> tuple[Tensor, State]:
        return self.plain.step(denoise, x, t, s, state, noise)

    def transition(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        return self.plain.transition(denoise, x, t, s, state)

    def finished(self) -> None:
        if hasattr(self.plain, "finished"):
            self.plain.finished()
