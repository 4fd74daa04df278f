"""Denoisers: (x_t, t, cond) -> D, the estimate of E[x0 | x_t, cond]. The one thing samplers see."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from windvane.arguments import called, one_of, real, shown, sizes
from windvane.codec import Codec
from windvane.conditions import Condition
from windvane.convert import TO_X0
from windvane.evaluations import record_evaluation
from windvane.process import Process, as_process, expand, shared_moment, shared_time
from windvane.time_coordinate import TIME_COORDINATES, TimedNetwork, checked_coordinate

#: What a network may predict; "edm" is the preconditioned prediction of Karras et al. 2022.
PARAMETRISATIONS = ("eps", "x0", "v", "flow", "edm")


class NetworkOutput(NamedTuple):
    """What a network may return in place of its prediction: that, and other tensors by name.

    ``aux`` has what a network says beside its prediction (an output at another resolution, the logits of a
    head, a variance): denoisers take the prediction, objectives see both by :meth:`NetworkDenoiser.outputs`.
    """

    prediction: Tensor
    aux: Mapping[str, Tensor] = MappingProxyType({})


def as_times(t: Tensor | float, rows: int, *, columns: bool = False) -> Tensor:
    """Times as float64 ``(rows,)`` on the CPU: the form in which denoisers and guidance see them.

    Schedules are evaluated there in float64, whatever the device and dtype of the state. With ``columns``
    ``(rows, K)`` is taken, too: one time for each of K streams. K = 1 is ``(rows,)``.
    """
    if isinstance(t, Tensor) and t.dtype == torch.float64 and t.is_cpu:
        times = t
    else:
        times = torch.as_tensor(t, dtype=torch.float64, device="cpu")
    if times.ndim == 0:
        return times.expand(rows)
    if columns and times.ndim == 2 and len(times) == rows:
        return times if times.shape[1] > 1 else times[:, 0]
    if times.shape != (rows,):
        raise ValueError(f"times must be 0-dim or of shape ({rows},), got {tuple(times.shape)}")
    return times


def checked_prediction(prediction: Any, x_t: Tensor, who: object) -> Tensor:
    """``prediction`` if it is a tensor of x_t's shape: another one would be broadcast without a word.

    Raises:
        ValueError: another type or shape, with both shapes and the class of ``who`` gave it.
    """
    if not isinstance(prediction, Tensor):
        raise ValueError(
            f"{name_of(who)} returned a {type(prediction).__name__} instead of a tensor of shape "
            f"{tuple(x_t.shape)}; return the prediction itself (of a diffusers model, its .sample)"
        )
    if prediction.shape != x_t.shape:
        raise ValueError(
            f"{name_of(who)} returned shape {tuple(prediction.shape)} for x_t of shape {tuple(x_t.shape)}; a "
            "prediction has the shape of what it is predicted from"
        )
    return prediction


def name_of(who: object) -> str:
    """What messages call a function or an object: its own name, or that of its class."""
    return getattr(who, "__name__", None) or type(who).__name__


class Denoiser(nn.Module, ABC):
    """The contract of every denoiser, plain or guided.

    ``forward(x_t, t, cond)`` takes ``x_t`` ``(B, *shape)``, times ``(B,)`` (float64, CPU) and a condition
    of B rows or None, and returns D ``(B, *shape)``. ``shape`` is the data's shape without the batch, or None
    where any shape will do. Networks, functions and exact denoisers take times ``(B, K)``, too, one for each
    of K streams, see :func:`windvane.process.expand`. A prediction of another shape than x_t's is refused.
    """

    process: Process
    shape: tuple[int, ...] | None
    #: Between data and samples where these differ, such as an autoencoder's; a pipeline of latents has one.
    codec: Codec | None
    #: What whoever trained it clamps predictions to, for ``sample(clip=...)``; None: nothing is known.
    clip: float | None = None
    #: What to say to who uses it.
    notes: tuple[str, ...] = ()

    def __init__(self, process: Process, shape: Sequence[int] | None = None) -> None:
        super().__init__()
        self.codec = None
        self.process = as_process(process)
        self.shape = None if shape is None else sizes(shape, "shape")

    def __call__(self, x_t: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return checked_prediction(super().__call__(x_t, *args, **kwargs), x_t, self)

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        """D(x_t, t, cond)."""

    def finished(self) -> None:
        """Called by the loop after the last batch, of every denoiser in the one that is sampled."""


class NetworkDenoiser(Denoiser):
    """A network and what it predicts, as a denoiser.

    The network is called as ``network(c_in x_t, time, cond)`` with ``time`` float32 ``(B,)``, or ``(B, K)``
    for K streams, and gives F:

    - ``"eps"``, ``"x0"``, ``"v"``, ``"flow"``: F is that quantity, see :mod:`windvane.convert`;
      c_in = 1 / max(1, sqrt(alpha^2 + sigma^2)), which is 1 but for variance exploding processes.
    - ``"edm"``: D = c_skip x_t + c_out F with, for d = ``sigma_data`` and n^2 = alpha^2 d^2 + sigma^2,
      c_in = 1 / n, c_skip = alpha d^2 / n^2, c_out = sigma d / n: Karras et al. 2022, table 1, for
      alpha = 1, and the same applied to x_t / alpha otherwise.

    Args:
        time: the coordinate the network is given: ``"index"`` (1000 t), ``"log_snr"``
            (-50 lambda = 100 ln(sigma / alpha)), ``"t"``, ``"noise_level"`` (sigma / alpha) or
            ``"table_index"`` (that of a :class:`~windvane.process.VPTable`, from 0). By default what the
            network expects (``time_coordinate``), or else the first, and the second for ``"edm"``.
        autocast: a dtype to run the network in (``torch.bfloat16``); the result is in x_t's dtype.
    """

    def __init__(
        self,
        network: nn.Module,
        process: Process,
        *,
        parametrisation: str = "eps",
        shape: Sequence[int] | None = None,
        sigma_data: float = 0.5,
        time: str | None = None,
        autocast: torch.dtype | None = None,
    ) -> None:
        super().__init__(process, shape)
        _check_network(network)
        self.network = network
        self.parametrisation = one_of(parametrisation, "parametrisation", PARAMETRISATIONS)
        self.sigma_data = real(sigma_data, "sigma_data", above=0)
        if time is None:
            expected = network.time_coordinate if isinstance(network, TimedNetwork) else None
            time = expected or ("log_snr" if parametrisation == "edm" else "index")
        self.time = checked_coordinate(time, self.process, network)
        if autocast is not None and not (isinstance(autocast, torch.dtype) and autocast.is_floating_point):
            raise ValueError(f"autocast takes a dtype such as torch.bfloat16, or None, got {shown(autocast)}")
        self.autocast = autocast

    def network_time(self, t: Tensor) -> Tensor:
        """The network's time coordinate, float64, of t's shape, finite at t = 0 and where alpha = 0."""
        return TIME_COORDINATES[self.time](self.process, t)

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        return self.outputs(x_t, t, cond).prediction

    def outputs(self, x_t: Tensor, t: Tensor, cond: Condition | None = None) -> NetworkOutput:
        """D and, from the same call of the network, what else it puts out: for objectives that use it."""
        times, process = as_times(t, x_t.shape[0], columns=True), self.process
        if times.numel() and shared_time(times):
            times = times[0]  # one time of all rows: its coefficients are remembered
        key = (NetworkDenoiser, self.parametrisation, self.sigma_data)
        c_in, *others = process.coefficients(key, (times,), x_t, self._coefficients)
        record_evaluation(x_t.shape[0])
        time = self._time_rows(times, x_t)
        plain = _is_one(c_in) and not (torch.is_grad_enabled() or torch.is_inference_mode_enabled())
        scaled, version = (x_t, x_t._version) if plain else (expand(c_in, x_t) * x_t, 0)
        if self.autocast is None:
            made, aux = self._called(scaled, time, cond)
        else:
            with torch.autocast(x_t.device.type, dtype=self.autocast):
                made, aux = self._called(scaled, time, cond)
                made = made.to(x_t.dtype)
        if plain and x_t._version != version:
            raise ValueError(
                f"{name_of(self.network)} changes its input in place, which the sampler still needs; let it "
                "work on a copy (x = x.clone() at the head of its forward)"
            )
        if self.parametrisation == "edm":
            c_skip, c_out = others
            return NetworkOutput(c_skip * x_t + c_out * made, aux)
        return NetworkOutput(TO_X0[self.parametrisation].apply(x_t, made, *others), aux)

    def _called(self, x: Tensor, time: Tensor, cond: Condition | None) -> NetworkOutput:
        """The network's own output F for the input ``x = c_in x_t``."""
        network = self.network
        try:
            output = network(x, time, cond)
        except TypeError:
            _check_call(network)
            raise
        if not isinstance(output, NetworkOutput):
            output = NetworkOutput(output)
        checked_prediction(output.prediction, x, network)
        return output

    def _time_rows(self, t: Tensor, x_t: Tensor) -> Tensor:
        """The network's time coordinate, float32 ``(B,)`` or ``(B, K)``, where x_t is."""
        moment = shared_moment(t)
        if moment is None:
            t = t.expand(len(x_t)) if t.ndim == 0 else t
            return self.network_time(t).to(device=x_t.device, dtype=torch.float32)
        key = (NetworkDenoiser, type(self), self.time, moment)
        value = self.process.remembered(key, lambda: self.network_time(t.reshape(-1)[:1]).item())
        return torch.full(x_t.shape[:1], value, dtype=torch.float32, device=x_t.device)

    def _coefficients(self, t: Tensor) -> tuple[Tensor, ...]:
        """c_in, and what x0 is made of x_t and F with."""
        alpha, sigma = self.process.scales(t)
        if self.parametrisation == "edm":
            d = self.sigma_data
            n = torch.sqrt((alpha * d) ** 2 + sigma**2)
            return 1 / n, alpha * d**2 / n**2, sigma * d / n
        c_in = 1 / torch.sqrt(alpha**2 + sigma**2).clamp(min=1)
        return c_in, *TO_X0[self.parametrisation].coefficients(self.process, t)


class FunctionDenoiser(Denoiser):
    """A plain function ``(x_t, t, cond) -> D`` as a denoiser; each call counts as one evaluation."""

    def __init__(
        self,
        function: Callable[[Tensor, Tensor, Condition | None], Tensor],
        process: Process,
        *,
        shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__(process, shape)
        self.function = called(function, "a FunctionDenoiser's function", "(x_t, t, cond) -> x0")

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        record_evaluation(len(x_t))
        return self.function(x_t, as_times(t, len(x_t), columns=True), cond)


def _is_one(coefficient: Tensor) -> bool:
    """Whether a coefficient of all rows is plainly 1; one on a device is not looked at."""
    return coefficient.ndim == 0 and coefficient.is_cpu and coefficient.item() == 1


def as_denoiser(denoiser: Any, what: str = "sample") -> Any:
    """A denoiser as it is; ``what`` asks for it.

    Raises:
        ValueError: what cannot be called, or has no process; the message says how it becomes a denoiser.
    """
    name = name_of(denoiser)
    if not callable(denoiser) or isinstance(denoiser, type):
        hint = "windvane.load opens one from a folder, windvane.from_pipeline one from a pipeline"
        raise ValueError(f"{what} needs a denoiser, a function (x_t, t, cond) -> x0, got {name}; {hint}")
    if not hasattr(denoiser, "process"):
        wrap = "NetworkDenoiser" if isinstance(denoiser, nn.Module) else "FunctionDenoiser"
        raise ValueError(
            f"{name} has no noise process, which a denoiser needs: windvane.{wrap}({name}, "
            "windvane.VPCosine()), with the process it was trained on, makes it one"
        )
    return denoiser


def like(denoiser: Any, what: str) -> tuple[Process, tuple[int, ...] | None]:
    """Process and shape for a denoiser round another one, which ``what`` asks for.

    Raises:
        ValueError: what is no denoiser.
    """
    return as_denoiser(denoiser, what).process, getattr(denoiser, "shape", None)


def _check_network(network: Any) -> None:
    """Refuse what is no module, or a denoiser already."""
    name = name_of(network)
    if not isinstance(network, nn.Module):
        hint = "pass an instance" if isinstance(network, type) else "FunctionDenoiser takes plain functions"
        raise ValueError(f"a NetworkDenoiser needs a torch module as its network, got {name}; {hint}")
    if isinstance(network, Denoiser):
        raise ValueError(f"{name} is a denoiser already; use it as it is, or pass its network")


def _check_call(network: nn.Module) -> None:
    """Refuse a network whose ``forward`` cannot be called as ``network(x, time, cond)``."""
    try:
        inspect.signature(network.forward).bind(None, None, None)
    except TypeError as error:
        name = name_of(network)
        raise ValueError(
            f"a network is called as network(x, time, cond), which {name}.forward does not take ({error}); "
            "wrap it in a module that does: def forward(self, x, time, cond=None)"
        ) from None
    except ValueError:  # a forward whose signature cannot be known
        return
