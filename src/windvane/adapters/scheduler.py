"""A scheduler of diffusers as a sampler."""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from windvane.adapters.diffusers_schedule import PREDICTIONS, schedule_of
from windvane.arguments import whole
from windvane.convert import prediction_from_x0
from windvane.process import Process, expand
from windvane.randomness import generator
from windvane.samplers.base import Denoise, Sampler, Traits, require_noise

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
class DiffusersScheduler(Sampler):
    """A diffusers scheduler as a :class:`~windvane.samplers.Sampler`, for denoisers of its own process.

    ``sample(denoiser, sampler=DiffusersScheduler(scheduler), steps=20)`` takes the steps of the scheduler at
    its own times; the scheduler given is copied and never changed. D is turned into the prediction that the
    scheduler was configured for, so its clipping and thresholding act as in its pipeline. Schedulers that
    work on x / alpha (Euler's) are given that. DDIM, DDPM, Euler, Euler ancestral and FlowMatchEuler; those
    that remember earlier predictions are refused, and have counterparts here whose state can be copied.

    DDPM and DDIM add the loop's noise, and have a ``transition``: what needs the step's mean or variance
    (mean shifts, particles) works with them. Others draw theirs from a generator seeded by the loop's noise
    for that row. Either way a sample depends on its own seed alone.

    Args:
        eta: the share of noise of DDIM.

    Raises:
        ValueError: a scheduler with memory, a learned variance, eta where there is none, or a prediction that
            the scheduler itself cannot step with.
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
        if name == "EulerAncestralDiscreteScheduler" and self.scheduler.config.prediction_type == "sample":
            raise ValueError(
                f"diffusers has no step of {name} for prediction_type='sample'; take epsilon or v_prediction "
                "(D is turned into either)"
            )
        self._refuse_options(name, self.scheduler.config)

    def _refuse_options(self, name: str, config: Any) -> None:
        """Options whose steps cannot be taken here, each by its name."""
        variance = str(config.get("variance_type", ""))
        if variance.startswith("learned"):
            raise ValueError(
                f"{name} has variance_type={variance!r}, a learned variance, which D does not have; use "
                "fixed_small"
            )
        if variance == "fixed_large_log":
            raise ValueError(
                f"{name} has variance_type='fixed_large_log', of which diffusers takes the root of a "
                "negative logarithm: its steps are nan; use fixed_large"
            )
        if config.get("use_dynamic_shifting"):
            raise ValueError(
                f"{name} has use_dynamic_shifting=True: its times depend on the picture's size by "
                "base_shift, max_shift, base_image_seq_len, max_image_seq_len and time_shift_type; set it to "
                "False and shift= to the value for your size"
            )
        schedule_of(self.scheduler)  # refuses what no process expresses

    def __repr__(self) -> str:
        """Short: the settings of a scheduler fill a page."""
        return f"DiffusersScheduler({type(self.scheduler).__name__}{f', eta={self.eta}' if self.eta else ''})"

    @cached_property
    def traits(self) -> Traits:  # type: ignore[override]
        name = type(self.scheduler).__name__
        noisy = MARKOV[name] or self.eta > 0 or bool(self.scheduler.config.get("stochastic_sampling"))
        return Traits(stochastic=noisy, gaussian=noisy and name.startswith(("DDPM", "DDIM")))

    def own_grid(  # type: ignore[override]
        self, process: Process, steps: int
    ) -> Tensor:
        """The scheduler's own times, float64 ``(steps + 1,)``; the loop's default with this sampler."""
        own = schedule_of(self.scheduler).process
        if own != process:
            raise ValueError(
                f"the scheduler's process is not the denoiser's: {_short(own)} and {_short(process)}"
            )
        made = _set(self.scheduler, whole(steps, "steps", least=1))
        times = self._times(made)
        self._check_times(made, times, steps)
        return times

    def _check_times(self, scheduler: Any, times: Tensor, steps: int) -> None:
        """Refuse times with which the scheduler itself stands still, turns back or divides by zero."""
        name, config = type(scheduler).__name__, scheduler.config
        if bool((times.diff() >= 0).any()):
            named = (
                "timestep_spacing",
                "steps_offset",
                "sigma_min",
                "sigma_max",
                "num_train_timesteps",
                "shift",
            )
            given = ", ".join(f"{key}={config[key]!r}" for key in named if config.get(key) is not None)
            raise ValueError(
                f"{name} visits no falling times in {steps} steps with {given}: "
                f"{[round(float(t), 4) for t in scheduler.timesteps][:9]}; take another number of steps or "
                "other settings"
            )
        table = getattr(scheduler, "alphas_cumprod", None)
        # Clipping makes 1 or -1 of what was divided by zero; a quantile, or a deviation of 0 / 0, does not.
        plain = not name.startswith("Euler") and config.get("prediction_type") == "epsilon"
        clips = config.get("clip_sample") and not config.get("thresholding")
        plain = plain and (self.traits.gaussian or not clips)
        if plain and table is not None and float(table[int(scheduler.timesteps[0])]) == 0:
            raise ValueError(
                f"{name} has rescale_betas_zero_snr=True and prediction_type='epsilon', and divides by "
                "alpha = 0 at its first step; use timestep_spacing='leading', a network with "
                "prediction_type='v_prediction', or DDIM without noise and with clip_sample=True"
            )

    def init(self, x: Tensor, times: Tensor) -> _State:
        steps = len(times) - 1
        scheduler = _set(self.scheduler, steps)
        own = self._times(scheduler)
        if len(own) == len(times) + 1:  # some options visit one time more than they were asked for
            scheduler = _set(self.scheduler, max(1, steps - 1))
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
        if self.traits.gaussian:
            mean, std, state = self.transition(denoise, x, t, s, state)
            return (mean + std * require_noise(noise, self)).to(x.dtype), state
        output, k = self._output(denoise, x, t, state)
        drawn: dict[str, Any] = {}
        if self.stochastic:
            drawn["generator"] = [_generator(row) for row in require_noise(noise, self)]
        return self._made(state, k, output, x, drawn), state

    def transition(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: _State
    ) -> tuple[Tensor, Tensor, _State]:
        """What DDPM, or DDIM with noise, makes of x without its noise, and how much of that it adds.

        DDIM can be given its noise. DDPM draws it in any case: from a generator that is known, so that it can
        be taken away again, and so found out how large it is.
        """
        if not self.traits.gaussian:
            raise ValueError(f"{type(self.scheduler).__name__}'s step has no Gaussian transition here")
        output, k = self._output(denoise, x, t, state)
        still = torch.zeros((1, *x.shape[1:]), dtype=torch.float64)
        if type(self.scheduler).__name__.startswith("DDIM"):
            one, none = torch.ones_like(still), torch.zeros_like(output)
            std = self._made(state, k, still, still, {"variance_noise": one, "eta": self.eta}).flatten()[0]
            mean = self._made(state, k, output, x, {"variance_noise": none, "eta": self.eta})
            return mean, expand(std, x), state
        known = _known_noise(still)
        made = self._made(state, k, still, still, {"generator": _seeded()})
        std = expand((made * known).sum() / known.square().sum(), x)
        mean = self._made(state, k, output, x, {"generator": _seeded()}) - std * _known_noise(output)
        return mean.to(x.dtype), std, state

    def _output(self, denoise: Denoise, x: Tensor, t: Tensor, state: _State) -> tuple[Tensor, int]:
        """The prediction that the scheduler was configured for, and the number of its step."""
        k = min(range(len(state.times) - 1), key=lambda i: abs(state.times[i] - float(t)))
        kind = PREDICTIONS[state.scheduler.config.get("prediction_type", "flow_prediction")]
        return prediction_from_x0(denoise.process, kind, x, denoise(x, t), t), k

    def _made(self, state: _State, k: int, output: Tensor, x: Tensor, drawn: Mapping[str, Any]) -> Tensor:
        """x_s as the scheduler makes it."""
        scheduler = copy.copy(state.scheduler)
        before, after = self._scales(scheduler, k)
        # Euler's asks for its scaling of the network's input, which is part of D here.
        scheduler.is_scale_input_called = True
        if hasattr(scheduler, "_step_index"):
            scheduler._step_index = None
            scheduler.set_begin_index(k)
        made = scheduler.step(output, scheduler.timesteps[k], before * x, return_dict=False, **drawn)[0]
        return (after * made).to(x.dtype)

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


def _seeded() -> torch.Generator:
    """A generator that always draws the same."""
    made = torch.Generator(device="cpu")
    made.manual_seed(0)
    return made


def _known_noise(like: Tensor) -> Tensor:
    """What a scheduler draws from :func:`_seeded` for a prediction like this one."""
    from diffusers.utils.torch_utils import randn_tensor

    return randn_tensor(like.shape, generator=_seeded(), device=like.device, dtype=like.dtype)


def _generator(noise: Tensor) -> torch.Generator:
    """A generator on the CPU that depends on the values of one row of noise."""
    digest = hashlib.blake2b(noise.detach().to("cpu", torch.float32).numpy().tobytes(), digest_size=8)
    return generator(int.from_bytes(digest.digest(), "little"))


def _short(process: Process) -> str:
    text = repr(process)
    return text if len(text) < 60 else f"{text[:57]}..."
