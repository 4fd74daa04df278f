"""Any encoder made noise-aware: its normalisations get a scale and a shift that depend on the noise level."""

import copy
import math
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from windvane.denoiser import as_times
from windvane.networks import time_embedding
from windvane.process import EDM, PFGMPP, Process, expand
from windvane.randomness import scoped_seed
from windvane.time_coordinate import TIME_COORDINATES, checked_coordinate

#: Scale and shift of every normalisation for the rows of the forward pass that is running, if one is.
_now: ContextVar[tuple[tuple[Tensor, Tensor], ...] | None] = ContextVar("windvane_noise_level", default=None)


class NoiseAware(nn.Module):
    """An encoder whose normalisations follow the noise level; made by :func:`noise_aware`.

    ``forward(x_t, t)`` takes x_t ``(B, *)`` and times ``(B,)`` or one time, and returns what the encoder
    returns. Energies take it with ``timed=True``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        process: Process,
        *,
        preprocess: Callable[[Tensor], Tensor] | None,
        time: str,
        frequencies: int,
        width: int,
        seed: int,
    ) -> None:
        super().__init__()
        norms = normalisations(encoder)
        if not norms:
            raise ValueError(
                f"{type(encoder).__name__} has no BatchNorm, InstanceNorm, GroupNorm, LayerNorm or RMSNorm "
                "modules to make noise-aware; functional ones cannot be found. Put a normalisation into it"
            )
        self.encoder, self.process, self.preprocess, self.time = encoder, process, preprocess, time
        self.frequencies = frequencies
        self.sizes = tuple(math.prod(_channels(norm)) for _, norm in norms)
        with scoped_seed(seed):
            self.embed = nn.Sequential(
                nn.Linear(frequencies, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
            )
            self.scale_shift = nn.Linear(width, 2 * sum(self.sizes))
        nn.init.zeros_(self.scale_shift.weight)
        nn.init.zeros_(self.scale_shift.bias)
        weight = next((p for p in encoder.parameters() if p.is_floating_point()), None)
        if weight is not None:
            self.embed.to(weight.device)
            self.scale_shift.to(weight.device)
        for number, (name, norm) in enumerate(norms):
            norm.register_forward_hook(_Adapt(number, name))

    def forward(self, x_t: Tensor, t: Tensor | float) -> Any:
        times = as_times(t, len(x_t))
        seen = visible(x_t, times, self.process, self.preprocess)
        token = _now.set(self.pairs(times))
        try:
            return self.encoder(seen)
        finally:
            _now.reset(token)

    def pairs(self, times: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        """(a, b), each ``(B, C)``, of every normalisation at ``times`` ``(B,)``."""
        coordinate = TIME_COORDINATES[self.time](self.process, times)
        weight = self.scale_shift.weight
        features = time_embedding(coordinate.to(weight.device), self.frequencies).to(weight.dtype)
        parts = self.scale_shift(self.embed(features)).split([2 * n for n in self.sizes], dim=1)
        return tuple((part[:, : part.shape[1] // 2], part[:, part.shape[1] // 2 :]) for part in parts)


def noise_aware(
    encoder: nn.Module,
    process: Process,
    *,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    trainable: Sequence[str] | None = None,
    time: str | None = None,
    frequencies: int = 128,
    width: int = 512,
    seed: int = 0,
) -> NoiseAware:
    """A noise-aware copy of ``encoder``: time-adaptive normalisation (SDG, 2112.05744, section 3.3).

    Every BatchNorm, InstanceNorm, GroupNorm, LayerNorm and RMSNorm module N becomes

        N(h) (1 + a(t)) + b(t),

    with (a, b) one affine map, zero at first, of relu(MLP(sinusoids of t)). So at first the copy equals
    the encoder exactly, at every t. It sees x_t / max(1, sqrt(alpha^2 + sigma^2)), which is x_t unless the
    process is variance exploding. The norms keep their type, names and weights; the encoder given is
    untouched. Train it with :func:`align` or :func:`train_classifier`; put it into ``.eval()`` to guide.

    Args:
        encoder: ``(B, *)`` to anything; the batch comes first in the input of every normalisation, too.
        preprocess: applied to what it sees: data in [-1, 1] to what the encoder was trained on.
        trainable: names of the encoder's modules that stay trainable beside the time layers ("layer4");
            None is all of it, () none of it.
        time: one of :data:`windvane.time_coordinate.TIME_COORDINATES`; by default ``"index"`` (1000 t), and
            ``"log_snr"`` for EDM and PFGM++.
        frequencies, width: of the time embedding.
        seed: of the time layers' first weights.

    Raises:
        ValueError: an encoder without normalisations; names in ``trainable`` that it does not have.
    """
    chosen = ("log_snr" if isinstance(process, (EDM, PFGMPP)) else "index") if time is None else time
    if chosen not in TIME_COORDINATES:
        raise ValueError(f"unknown time coordinate {time!r}; known: {', '.join(TIME_COORDINATES)}")
    checked_coordinate(chosen, process)
    if isinstance(encoder, NoiseAware):
        raise ValueError("this encoder is noise-aware already; copy it with copy.deepcopy")
    made = NoiseAware(
        copy.deepcopy(encoder), process, preprocess=preprocess, time=chosen, frequencies=frequencies,
        width=width, seed=seed,
    )  # fmt: skip
    names = dict(made.encoder.named_modules())
    unknown = [name for name in trainable or () if name not in names]
    if unknown:
        raise ValueError(f"the encoder has no modules {unknown}; it has {', '.join(list(names)[1:12])}, ...")
    made.encoder.requires_grad_(trainable is None)
    for name in trainable or ():
        names[name].requires_grad_(True)
    made.train(encoder.training)
    return made


def visible(
    x_t: Tensor, times: Tensor, process: Process, preprocess: Callable[[Tensor], Tensor] | None
) -> Tensor:
    """x_t / max(1, sqrt(alpha^2 + sigma^2)), preprocessed: what a guide sees of a noisy state."""
    alpha, sigma = process.scales(times)
    seen = x_t / expand(torch.sqrt(alpha**2 + sigma**2).clamp(min=1), x_t)
    return seen if preprocess is None else preprocess(seen)


def normalisations(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The normalisation modules of ``module`` by name, each once."""
    kinds = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
    return [(name, part) for name, part in module.named_modules() if isinstance(part, kinds)]


def _channels(norm: nn.Module) -> tuple[int, ...]:
    """The shape of a norm's scale: channels, or what a LayerNorm normalises over."""
    if isinstance(norm, nn.GroupNorm):
        return (norm.num_channels,)
    if isinstance(norm, _NormBase):
        return (norm.num_features,)
    return tuple(norm.normalized_shape)  # type: ignore[arg-type, union-attr]


class _Adapt:
    """h (1 + a) + b after one normalisation: a hook, so that the module keeps its type and its weights.

    Outside of :meth:`NoiseAware.forward` it does nothing.
    """

    def __init__(self, number: int, name: str) -> None:
        self.number, self.name = number, name

    def __call__(self, norm: nn.Module, inputs: tuple[Tensor, ...], h: Tensor) -> Tensor:
        now = _now.get()
        if now is None:
            return h
        scale, shift = now[self.number]
        if len(h) != len(scale):
            raise ValueError(
                f"the normalisation {self.name!r} got {len(h)} rows for a batch of {len(scale)}: a "
                "noise-aware encoder needs the batch in the first dimension everywhere"
            )
        shape = _channels(norm)
        last = isinstance(norm, (nn.LayerNorm, nn.RMSNorm))
        if last and getattr(norm, "data_format", "channels_last") != "channels_first":
            view = (len(h), *[1] * (h.ndim - 1 - len(shape)), *shape)
        else:
            view = (len(h), *shape, *[1] * (h.ndim - 2))
        return h * (1 + scale.reshape(view).to(h.dtype)) + shift.reshape(view).to(h.dtype)
