"""A scheduler of diffusers as a sampler."""

import copy
import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from windvane.adapters.diffusers_schedule import PREDICTIONS, schedule_of
from windvane.convert import prediction_from_x0
from windvane.process import Process
from windvane.samplers.base import Denoise, require_noise

#: Schedulers whose step depends on x and the prediction alone, and whether they draw noise.
MARKOV = {
    "DDIMScheduler": False,
    "DDIMParallelScheduler": False,
    "DDPMScheduler": True,
    "DDPMParallelScheduler": True,
    "EulerDiscreteScheduler": False,
    "EulerAncestralDiscreteScheduler": True,
    "FlowMatchEulerDiscreteScheduler": False,
}
_INSTEAD = {
    "DPMSolver": "DPMSolverPP or DPMSolverSinglestep",
    "DEIS": "DPMSolverPP",
    "UniPC": "UniPC",
    "Heun": "Heun",
    "FlowMatchHeun": "Heun",
    "PNDM": "UniPC",
    "LMS": "UniPC",
    "IPNDM": "UniPC",
}


@dataclass(frozen=True)
class _State:
    """The scheduler's copy with its timesteps set (shared by all rows), and the times of its steps."""

    scheduler: Any
    times: Any


@dataclass(frozen=True)
class DiffusersScheduler:
    """A diffusers scheduler as a :class:`~windvane.samplers.Sampler`, for denoisers of its own process.

    ``sample(denoiser, sampler=DiffusersScheduler(scheduler), steps=20)`` takes the steps of the scheduler at
    its own times; the scheduler given is copied and never changed. D is turned into the prediction that the
    scheduler was configured for, so its clipping and thresholding act as in its pipeline. Schedulers that
    work on x / alpha (Euler's) are given that. DDIM, DDPM, Euler, Euler ancestral and FlowMatchEuler; those
    that remember earlier predictions are refused, and have counterparts here whose state can be copied.

    The noise of a step is drawn by the scheduler from a generator seeded by the loop's noise for that row, so
    that a sample depends on its own seed alone.

    Args:
        eta: the share of noise of DDIM.

    Raises:
        ValueError: a scheduler with memory, a learned variance, or eta where there is none.
    """

    scheduler: Any
    eta: float = 0.0

    def __post_init__(self) -> None:
        name = type(self.scheduler).__name__
        if name not in MARKOV:
            near = [ours for theirs, ours in _INSTEAD.items() if name.startswith(theirs)]
            instead = f"; windvane.samplers has {near[0]}" if near else ""
            raise ValueError(
                f"{name} is not a function of x and the prediction alone; known: {', '.join(MARKOV)}{instead}"
            )
        if self.eta and not name.startswith("DDIM"):
            raise ValueError(f"eta={self.eta} belongs to DDIM; {name} has its own share of noise")
        if str(self.scheduler.config.get("variance_type", "")).startswith("learned"):
            raise ValueError(f"{name} wants a learned variance, which D does not have; use fixed_small")

    @property
    def stochastic(self) -> bool:
        name = type(self.scheduler).__name__
        return MARKOV[name] or self.eta > 0 or bool(self.scheduler.config.get("stochastic_sampling"))

    def own_grid(self, process: Process, steps: int) -> Tensor:
        """The scheduler's own times, float64 ``(steps + 1,)``; the loop's default with this sampler."""
        own = schedule_of(self.scheduler).process
        if own != process:
            raise ValueError(
                f"the scheduler's process is not the denoiser's: {_short(own)} and {_short(process)}"
            )
        return self._times(_set(self.scheduler, steps))

    def init(self, x: Tensor, times: Tensor) -> _State:
        scheduler = _set(self.scheduler, len(times) - 1)
        own = self._times(scheduler)
        if own.shape != times.shape or not torch.allclose(own, times, rtol=0, atol=1e-6):
            raise ValueError(
                "a diffusers scheduler takes its own times: leave grid= out, or give "
                f"grid=DiffusersScheduler(...).own_grid; got {len(times)} times from {float(times[0]):.4g}, "
                f"it has {len(own)} from {float(own[0]):.4g}"
            )
        # Wrapped, so that indexing a state by rows leaves the times alone.
        return _State(scheduler, tuple(own.tolist()))

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: _State, noise: Tensor | None = None
    ) -> tuple[Tensor, _State]:
        scheduler = copy.copy(state.scheduler)
        k = min(range(len(state.times) - 1), key=lambda i: abs(state.times[i] - float(t)))
        kind = PREDICTIONS[scheduler.config.get("prediction_type", "flow_prediction")]
        output = prediction_from_x0(denoise.process, kind, x, denoise(x, t), t)
        drawn: dict[str, Any] = {}
        if self.stochastic:
            drawn["generator"] = [_generator(row) for row in require_noise(noise, self)]
        if type(scheduler).__name__.startswith("DDIM"):
            drawn["eta"] = self.eta
        before, after = self._scales(scheduler, k)
        # Euler's asks for its scaling of the network's input, which is part of D here.
        scheduler.is_scale_input_called = True
        if hasattr(scheduler, "_step_index"):
            scheduler._step_index = None
            scheduler.set_begin_index(k)
        made = scheduler.step(output, scheduler.timesteps[k], before * x, return_dict=False, **drawn)[0]
        return (after * made).to(x.dtype), state

    def _times(self, scheduler: Any) -> Tensor:
        schedule = schedule_of(self.scheduler)
        steps = torch.as_tensor(scheduler.timesteps, dtype=torch.float64, device="cpu")
        times = schedule.time_of(steps)
        return torch.cat([times, times.new_zeros(1)])

    def _scales(self, scheduler: Any, k: int) -> tuple[float, float]:
        """What x is multiplied by before and after step k: 1, or 1 / alpha and alpha for x / alpha."""
        if not type(scheduler).__name__.startswith("Euler"):
            return 1.0, 1.0
        before, after = (float(sigma) for sigma in scheduler.sigmas[k : k + 2])
        return (1 + before**2) ** 0.5, (1 + after**2) ** -0.5


def _set(scheduler: Any, steps: int) -> Any:
    """A copy of the scheduler with its timesteps set."""
    made = copy.deepcopy(scheduler)
    made.set_timesteps(steps)
    return made


def _generator(noise: Tensor) -> torch.Generator:
    """A generator on the CPU that depends on the values of one row of noise."""
    digest = hashlib.blake2b(noise.detach().to("cpu", torch.float32).numpy().tobytes(), digest_size=8)
    made = torch.Generator(device="cpu")
    made.manual_seed(int.from_bytes(digest.digest(), "little") >> 1)
    return made


def _short(process: Process) -> str:
    text = repr(process)
    return text if len(text) < 60 else f"{text[:57]}..."
