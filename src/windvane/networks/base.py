"""The protocol of the library's networks."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from windvane.conditions import Condition
from windvane.denoiser import NetworkOutput
from windvane.networks.conditioning import ConditionInput, Embedding


def parameter_count(module: nn.Module, *, trainable: bool = False) -> int:
    """The number of parameters, or of those that are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)


class Network(nn.Module, ABC):
    """A conditional network: ``forward(x (B, *), time (B,), cond) -> (B, *)``, in the dtype of x.

    :meth:`run` may give :class:`~windvane.denoiser.NetworkOutput`, a prediction and more; so does the network
    then.

    The condition is embedded in one place, :meth:`embed`, and used in another, :meth:`run`, so that what
    changes an embedding (a perturbation, an extra scalar) stands between the two. The network computes in the
    dtype of its parameters, or in autocast's.
    """

    #: The name in the registry and in checkpoints.
    kind: ClassVar[str]
    #: The attribute, and folder name, of the diffusers model inside, if there is one.
    diffusers_part: ClassVar[str | None] = None

    #: The time coordinate that it expects, of :data:`windvane.time_coordinate.TIME_COORDINATES`; None: any.
    time_coordinate: ClassVar[str | None] = None
    #: Whether :meth:`run` takes times ``(B, K)``, one for each of K streams.
    streams: ClassVar[bool] = False

    conditions: ConditionInput

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """What :meth:`from_config` needs, as JSON values."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: dict[str, Any]) -> "Network":
        """A new network with random weights."""

    @abstractmethod
    def run(self, x: Tensor, time: Tensor, embedding: Embedding) -> Tensor | NetworkOutput:
        """The network on an embedded condition; ``x`` and the result are in the dtype of the parameters."""

    @abstractmethod
    def layers(self) -> dict[str, nn.Module]:
        """The modules whose outputs :meth:`features` gives, by layer name, in the order of computation."""

    def set_gradient_checkpointing(self, enabled: bool = True) -> None:
        """Trade compute for memory in training: recompute blocks in the backward pass."""
        raise ValueError(
            f"{type(self).__name__} has no gradient checkpointing; ConditionedUNet and ConditionedDiT have"
        )

    def check(self, cond: Condition | None, rows: int) -> None:
        """Check a condition once, before many calls: on an accelerator :meth:`forward` cannot look at ids."""
        self.conditions.check(cond, rows)

    def embed(self, cond: Condition | None, rows: int) -> Embedding:
        """Embed a condition of ``rows`` rows; absent signals, and all of None, are fixed zeros."""
        parameter = next(self.parameters())
        return self.conditions(cond, rows, device=parameter.device, dtype=parameter.dtype)

    def forward(self, x: Tensor, time: Tensor, cond: Condition | None = None) -> Tensor | NetworkOutput:
        if time.ndim > 1 and not self.streams:
            raise ValueError(
                f"{type(self).__name__} takes one time a row (B,), got {tuple(time.shape)}; a network for "
                "several streams says streams = True"
            )
        embedding = self.embed(cond, len(x))
        inner = x.to(next(self.parameters()).dtype)
        output = self.run(inner, time.to(device=x.device, dtype=torch.float32), embedding)
        if isinstance(output, NetworkOutput):
            return NetworkOutput(output.prediction.to(x.dtype), output.aux)
        return output.to(x.dtype)

    def feature_map(self, output: Any) -> Tensor:
        """What a layer put out, as a tensor ``(B, C)`` or ``(B, C, h, w)``."""
        return output

    def features(
        self,
        x: Tensor,
        time: Tensor,
        cond: Condition | None = None,
        *,
        layer: str | Sequence[str] | None = None,
    ) -> dict[str, Tensor]:
        """Intermediate maps ``(B, C)`` or ``(B, C, h, w)`` by layer name, from one call of the network.

        Args:
            layer: one name or several of :meth:`layers`; all by default. Gradients flow unless switched off
                outside.
        """
        known = self.layers()
        names = list(known) if layer is None else [layer] if isinstance(layer, str) else list(layer)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"unknown layers {unknown}; this network has {', '.join(known)}")
        with _watch({name: known[name] for name in names}) as seen:
            self(x, time, cond)
        return {name: self.feature_map(seen[name]) for name in names}


@contextmanager
def _watch(modules: dict[str, nn.Module]) -> Iterator[dict[str, Any]]:
    seen: dict[str, Any] = {}
    caller = threading.get_ident()

    def remember(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            # Another thread may be using the same network; its outputs are none of ours.
            if threading.get_ident() == caller:
                seen[name] = output

        return hook

    handles = [module.register_forward_hook(remember(name)) for name, module in modules.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
