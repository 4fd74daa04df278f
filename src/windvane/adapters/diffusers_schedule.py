"""What a scheduler of diffusers says about training: the process, the prediction, and the network's time."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from windvane.process import EDM, Process, RectifiedFlow, VPTable

#: diffusers' names of predictions, and ours.
PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0", "flow_prediction": "flow"}
_UNKNOWN = (
    "Schedulers with a table of betas (DDPM, DDIM, PNDM, Euler, Heun, LMS, DPMSolver, UniPC, DEIS and their "
    "like), FlowMatchEuler and ScoreSdeVe can be expressed"
)


@dataclass(frozen=True)
class Schedule:
    """How a pipeline's network was trained.

    Args:
        process: the noise process, of data in [-1, 1] (or of latents).
        prediction: ``"eps"``, ``"x0"``, ``"v"``, ``"flow"`` or ``"score"``.
        steps: the number of training steps, in which the network's time is counted.
        clip: the bound that the scheduler clamps predictions of x0 to, or None.
        continuous: the network's time is ln(sigma / alpha) / 4 instead of an index
            (``timestep_type="continuous"`` of Euler's scheduler with v-prediction).
        notes: what the scheduler does while sampling that the process does not say.
    """

    process: Process
    prediction: str
    steps: int
    clip: float | None = None
    notes: tuple[str, ...] = ()
    continuous: bool = False

    def network_time(self, t: Tensor) -> Tensor:
        """The time that the network is given, float64, for ``t`` float64.

        The index k = N t - 1 of a table, not rounded and at least 0; N t of a flow; half of sigma for scores,
        whose network sees data in [0, 1]; ln(sigma / alpha) / 4 of a continuous table.
        """
        if self.continuous:
            return 0.25 * self.process.noise_level(t.clamp(min=self.process.t_min)).log()
        if isinstance(self.process, VPTable):
            return self.process.index(t).clamp(min=0)
        if isinstance(self.process, RectifiedFlow):
            return self.steps * t
        return self.process.sigma(t) / 2

    def time_of(self, timestep: Tensor) -> Tensor:
        """The inverse of :meth:`network_time`, for tables and flows."""
        if self.continuous:
            return self.process.t_of_noise_level(torch.exp(4 * timestep.double()))
        if isinstance(self.process, VPTable):
            return (timestep.double() + 1) / self.steps
        return timestep.double() / self.steps


def schedule_of(scheduler: Any) -> Schedule:
    """The schedule that a scheduler's settings describe.

    Which steps the scheduler would take does not matter here: any sampler can be used afterwards.

    Raises:
        ValueError: a scheduler whose process cannot be expressed, with the reason.
    """
    name, config = type(scheduler).__name__, scheduler.config
    steps = int(config.get("num_train_timesteps", 1000))
    if name == "ScoreSdeVeScheduler":
        # Its data lie in [0, 1]; in [-1, 1] the same noise is twice as large.
        process: Process = EDM(sigma_max=2 * config.sigma_max, sigma_min=2 * config.sigma_min)
        return Schedule(process, "score", steps)
    flow = name in ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
    kind = "flow_prediction" if flow else config.get("prediction_type", "epsilon")
    if kind not in PREDICTIONS:
        raise ValueError(f"{name} has prediction_type={kind!r}; known: {', '.join(PREDICTIONS)}")
    if config.get("invert_sigmas"):
        raise ValueError(
            f"{name} has invert_sigmas=True: its network counts time from noise to data, which this process "
            "does not; set it to False if the network was trained otherwise"
        )
    if flow or config.get("use_flow_sigmas"):
        return Schedule(RectifiedFlow(), PREDICTIONS[kind], steps, notes=_flow_notes(config))
    table = getattr(scheduler, "alphas_cumprod", None)
    if table is None or name.startswith(("EDM", "CM", "CosineDPM")):
        raise ValueError(f"the process of a {name} cannot be expressed. {_UNKNOWN}")
    clip = float(config.get("clip_sample_range", 1.0)) if config.get("clip_sample") else None
    made = _table(_precise(table, config), name, bool(config.get("rescale_betas_zero_snr")))
    # As in the scheduler itself, which takes indices for other predictions all the same.
    continuous = config.get("timestep_type") == "continuous" and kind == "v_prediction"
    return Schedule(made, PREDICTIONS[kind], len(table), clip, _table_notes(config, clip), continuous)


def _precise(table: Tensor, config: Any) -> Tensor:
    """The table in float64 where the settings list its betas: diffusers multiplies them in float32."""
    betas = config.get("trained_betas")
    if betas is None:
        return table.double()
    exact = torch.cumprod(1 - torch.tensor(list(betas), dtype=torch.float64), dim=0)
    # A scheduler may have changed its table after its betas.
    same = exact.shape == table.shape and torch.allclose(exact, table.double(), rtol=1e-3, atol=1e-6)
    return exact if same else table.double()


def _table(table: Tensor, name: str, rescaled: bool) -> VPTable:
    values = table
    if rescaled:
        # Zero terminal SNR: 0, or where diffusers wants to divide by it 2**-24, which may be out of order.
        values = torch.cat([values[:-1], values[-2:-1] / 4])
    try:
        return VPTable(values.tolist())
    except ValueError as error:
        raise ValueError(f"the alphas of the {name} are no noise schedule: {error}") from error


def _table_notes(config: Any, clip: float | None) -> tuple[str, ...]:
    notes = []
    if config.get("thresholding"):
        notes.append(
            f"the scheduler thresholds predictions at their {config.get('dynamic_thresholding_ratio')} "
            "quantile; here a fixed clip= does that part"
        )
    elif clip is not None:
        notes.append(f"the scheduler clips predictions to [-{clip:g}, {clip:g}]: sample(clip={clip:g})")
    if config.get("rescale_betas_zero_snr"):
        notes.append("the last alpha of the schedule, 0, is taken as half of the one before")
    return tuple(notes)


def _flow_notes(config: Any) -> tuple[str, ...]:
    shift = config.get("shift", config.get("flow_shift", 1.0))
    if config.get("use_dynamic_shifting"):
        return ("the scheduler shifts its times by the picture's size; choose grid= accordingly",)
    if shift not in (None, 1.0):
        return (f"the scheduler shifts its times by {shift:g}: t -> {shift:g} t / (1 + ({shift:g} - 1) t)",)
    return ()
