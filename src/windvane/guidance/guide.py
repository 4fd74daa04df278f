"""What a gradient method is: an energy and five choices."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from windvane.energies import Energy
from windvane.guidance.autoencoder import Autoencoder
from windvane.guidance.step_weights import Step, StepWeight
from windvane.guidance.weights import Elementwise, Schedule, as_schedule, scheduled
from windvane.process import Process, scalar, shared_moment

WHERE = ("x_t", "x0", "noised")
PUSHES = ("score", "x0", "x0_keep_eps", "state")


@dataclass(frozen=True)
class Guide:
    """An energy l and how its gradient g steers. The published methods are settings of this one family.

    Args:
        energy: (1) which score: l, a log-likelihood per sample.
        where: (2) where it is evaluated. ``"x_t"``: the noisy state and its time, for noise-aware
            energies. ``"x0"``: the prediction D. ``"noised"``: D + r d for ``draws`` normal d, as
            log mean exp l, with r from ``radius`` (Loss-Guided Diffusion).
        through: whether g is taken with respect to x_t, through the denoiser if ``where`` is D, or with
            respect to D itself, without a backward pass through the denoiser.
        push: (3) how it is applied, with w the weight.
            ``"score"``: score + w g, which is D + (sigma^2 / alpha) w g, eps recomputed from it;
            ``"x0"``: D + w g, eps recomputed; ``"x0_keep_eps"``: x_s + alpha_s w g, after the step (with
            ``relative`` without alpha_s); ``"state"``: x_s + w g, after the step.
        weight: (4) its scale: a number, a schedule in noise level, or a
            :class:`~windvane.guidance.StepWeight` for what acts after the step. 0 is off.
        relative: scale free: the push has RMS w times that of its surroundings, per sample. For pushes
            of D these are sigma / sqrt(alpha^2 + sigma^2) RMS(eps), what noise leaves unknown of data of unit
            scale: RMS(eps) sigma / alpha at low noise (so that score pushes move eps by the fraction w),
            and no more than the data's own scale at high noise, where sigma / alpha is enormous. For pushes
            after the step it is RMS(x_s - x_t), the step's length.
        limit: the largest push, in the same units, whatever the weight; None is no limit.
        window: (5) (low, high): acts where low < sigma / alpha <= high only, and costs nothing elsewhere.
        iterations: gradient steps of weight w each on D, for ``through=False``; with ``relative``, for pushes
            of D, each has RMS w / iterations times that of the surroundings, whatever its gradient.
        latent: an autoencoder: these steps are made in its latent, and D is moved to what they decode to.
        radius: r, a number or a schedule in noise level.
        seed: of the draws of ``"noised"``, which depend on it and on t alone.

    Where alpha_t = 0 nothing of the data is in x_t yet, and no guide acts.

    Raises:
        ValueError: choices that do not go together.
    """

    energy: Energy
    weight: float | Schedule | StepWeight = 1.0
    where: str = "x0"
    through: bool = True
    push: str = "score"
    relative: bool = False
    limit: float | None = None
    window: tuple[float, float] | None = None
    iterations: int = 1
    latent: Autoencoder | None = None
    radius: float | Schedule = 0.0
    draws: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.where not in WHERE or self.push not in PUSHES:
            raise ValueError(
                f"a guide has where in {WHERE} and push in {PUSHES}, got {self.where!r} and {self.push!r}"
            )
        if not isinstance(self.energy, Energy):
            raise ValueError(
                f"a guide needs an Energy, got {type(self.energy).__name__}; put a function into Reward(...)"
            )
        if self.where == "x_t" and not self.through:
            raise ValueError('where="x_t" takes the gradient at x_t: through=False has no meaning there')
        if self.iterations < 1 or self.draws < 1:
            raise ValueError(f"iterations and draws are at least 1, got {self.iterations}, {self.draws}")
        if self.iterations > 1 and (self.through or self.push == "state"):
            raise ValueError("iterations > 1 move D: they need through=False and a push other than 'state'")
        if self.iterations > 1 and self.relative and self.after_step:
            raise ValueError(
                "relative steps after the step have no length to be relative to yet: iterations > 1 with "
                "relative=True need the push 'score' or 'x0'"
            )
        if self.latent is not None and (self.through or self.relative or self.where != "x0"):
            raise ValueError('a latent needs through=False, where="x0" and a weight that is not relative')
        if self.latent is not None and self.push == "state":
            raise ValueError("a latent moves D: it needs a push other than 'state'")
        if self.where != "noised" and (self.draws > 1 or self.radius != 0.0):
            raise ValueError(f'draws and radius belong to where="noised", got where={self.where!r}')
        if isinstance(self.weight, StepWeight) and not self.after_step:
            raise ValueError(
                f"{self.weight} depends on the step and fits pushes after it ('state', 'x0_keep_eps'), "
                f"not {self.push!r}"
            )
        if self.limit is not None and not self.limit > 0:
            raise ValueError(f"a limit must be positive, got {self.limit}")
        if self.window is not None and not 0 <= self.window[0] < self.window[1]:
            raise ValueError(f"a window in noise level needs 0 <= low < high, got {self.window}")
        self._check_weight()

    @property
    def scale(self) -> float | Schedule | None:
        """The weight, or the factor of one that knows the step, which may have none."""
        return self.weight.scale if isinstance(self.weight, StepWeight) else self.weight

    def _check_weight(self) -> None:
        fixed = self.scale
        if fixed is None or callable(fixed):
            return
        try:
            finite = math.isfinite(fixed)
        except TypeError:
            raise ValueError(
                "a guide's weight is a number, a schedule in noise level or a StepWeight, got "
                f"{self.weight!r}"
            ) from None
        if not finite:
            raise ValueError(f"a guide's weight must be finite, got {self.weight}")

    @cached_property
    def after_step(self) -> bool:
        """Whether the push comes after the step, and so needs the sampler."""
        return self.push in ("state", "x0_keep_eps")

    @cached_property
    def even(self) -> bool:
        """Whether rows of one time have one weight: it is no schedule, which may tell rows apart."""
        return isinstance(self.weight, (StepWeight, Elementwise)) or not callable(self.weight)

    @cached_property
    def backward(self) -> bool:
        """Whether it needs a backward pass through the denoiser."""
        return self.where != "x_t" and self.through

    def weights(self, process: Process, times: Tensor, step: Step | None) -> Tensor:
        """w of every row, float64 ``(B,)``: 0 outside the window and where alpha = 0.

        0-dim where all rows have one: they share the time, and the weight is no schedule.

        Raises:
            ValueError: a weight that is not finite there, or a schedule that gives another shape.
        """
        moment = shared_moment(times)
        if moment is not None and self.even:
            return scalar(self._weight_at(process, moment, step), torch.float64)
        level = process.noise_level(times)
        if isinstance(self.weight, StepWeight):
            if step is None:
                raise ValueError(f"{self.weight} depends on the step: guide the sampler, not the denoiser")
            weight = torch.full_like(level, self.weight(step))
        else:
            weight = scheduled(self.weight, level, f"the weight of the energy {self.energy.name!r}")
        acts = process.alpha(times) > 0
        if self.window is not None:
            acts = acts & (level > self.window[0]) & (level <= self.window[1])
        bad = acts & ~torch.isfinite(weight)
        if bool(bad.any()):
            raise ValueError(
                f"the weight of the energy {self.energy.name!r} is {float(weight[bad][0])} at noise level "
                f"sigma / alpha = {float(level[bad][0]):.4g}; it must be finite"
            )
        return torch.where(acts, weight, torch.zeros_like(weight))

    def _weight_at(self, process: Process, moment: float, step: Step | None) -> float:
        """:meth:`weights` of rows that share one time, for what is no schedule."""
        alpha, _, level = process.numbers(moment)
        if isinstance(self.weight, Elementwise):
            weight = _one_of(process, self.weight, moment)
        elif not isinstance(self.weight, StepWeight):
            weight = float(self.weight)  # type: ignore[arg-type]
        elif step is None:
            raise ValueError(f"{self.weight} depends on the step: guide the sampler, not the denoiser")
        else:
            weight = float(self.weight(step))
        if not alpha > 0 or (self.window is not None and not self.window[0] < level <= self.window[1]):
            return 0.0
        if not math.isfinite(weight):
            raise ValueError(
                f"the weight of the energy {self.energy.name!r} is {weight} at noise level sigma / alpha = "
                f"{level:.4g}; it must be finite"
            )
        return weight

    def radii(self, process: Process, times: Tensor, level: float) -> Tensor:
        """r of every row, ``(B,)`` or 0-dim like :meth:`weights`; ``level`` is that of a guided row.

        Raises:
            ValueError: a radius that is not finite, or a schedule that gives another shape.
        """
        of = f"the radius of the energy {self.energy.name!r}"
        moment, radius = shared_moment(times), as_schedule(self.radius)
        if moment is not None and isinstance(radius, Elementwise):
            found = scalar(_one_of(process, radius, moment), torch.float64)
        else:
            found = scheduled(radius, process.noise_level(times), of)
        if not bool(torch.isfinite(found).all()):
            raise ValueError(f"{of} is not finite at noise level sigma / alpha = {level:.4g}")
        return found

    def factors(self, process: Process, times: Tensor, weight: Tensor) -> Tensor:
        """What one gradient is multiplied by, float64 ``(B,)``; the fraction itself if ``relative``."""
        if self.relative or self.push != "score":
            return weight
        alpha, sigma = process.scales(times)
        factor = weight * sigma**2 / alpha
        return torch.where(alpha > 0, factor, torch.zeros_like(factor))

    def carry(self, step: Step | None) -> float:
        """With what a move of D enters x_s: alpha_s where eps is kept, else 1."""
        if self.push != "x0_keep_eps" or step is None or self.relative:
            return 1.0
        return step.process.numbers(float(step.s))[0]


def _one_of(process: Process, schedule: Elementwise, moment: float) -> float:
    """The value of a schedule at one time."""
    levels = process.noise_level(scalar(moment, torch.float64).reshape(1))
    return process.remembered((schedule, moment), lambda: schedule(levels).item())
