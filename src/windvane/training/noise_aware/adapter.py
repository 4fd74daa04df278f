"""Low-rank adapters alone in a folder, with the hash of the network that they belong to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from windvane.checkpoint.kinds import ModelKind, Module
from windvane.hashes import tensors_hash
from windvane.training.noise_aware.low_rank import LowRank, add_low_rank


@dataclass
class Adapter:
    """What was trained of a network with low-rank adapters, to be put into its base again.

    Args:
        settings: of :func:`~windvane.training.noise_aware.low_rank.add_low_rank`.
        base: the hash of the weights of the base, without adapters.
        tensors: the trained weights by name: adapters, biases and normalisations.
    """

    settings: LowRank
    base: str
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, network: nn.Module, base: nn.Module, settings: LowRank) -> "Adapter":
        """The adapters of a network that was made of a copy of ``base``."""
        trained = {name: p.detach().clone() for name, p in network.named_parameters() if p.requires_grad}
        return cls(settings, tensors_hash(base.state_dict()), trained)

    def onto(self, base: nn.Module) -> nn.Module:
        """The base with these adapters, in place.

        Raises:
            ValueError: another base than the adapters were trained on.
        """
        found = tensors_hash(base.state_dict())
        if found != self.base:
            raise ValueError(
                f"these adapters belong to a base whose weights have the hash {self.base[:12]}, this one has "
                f"{found[:12]}: load the model that they were trained on"
            )
        adapted = add_low_rank(base, self.settings)
        own = adapted.state_dict()
        missing = sorted(set(self.tensors) - set(own))
        if missing:
            raise ValueError(f"the base has no place for {', '.join(missing[:5])} of the adapters")
        adapted.load_state_dict(self.tensors, strict=False)
        return adapted


class AdapterKind(ModelKind):
    """An :class:`Adapter`."""

    name = "adapter"

    def holds(self, model: Any) -> bool:
        return isinstance(model, Adapter)

    def settings(self, model: Adapter) -> dict[str, Any]:
        of = model.settings
        targets = None if of.targets is None else list(of.targets)
        return {"base": model.base, "rank": of.rank, "alpha": of.alpha, "targets": targets}

    def modules(self, model: Adapter) -> dict[str, Module]:
        return {"adapter": model.tensors}

    def build(self, settings: Mapping[str, Any], modules: Mapping[str, Any]) -> Adapter:
        targets = None if settings["targets"] is None else tuple(settings["targets"])
        low_rank = LowRank(settings["rank"], settings["alpha"], targets)
        return Adapter(low_rank, settings["base"], dict(modules["adapter"]))
