"""What a folder can hold: how models of a kind are taken apart, and put together again."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from windvane.denoiser import Denoiser, NetworkDenoiser, name_of
from windvane.networks.base import Network
from windvane.process import process_from_config
from windvane.registry import entries

#: A module of a model: a network of the registry, a model of diffusers, or tensors by name.
Module = nn.Module | Mapping[str, Tensor]


class ModelKind(ABC):
    """Models of one kind: what is noted of one, and how it is made of that again.

    A row of the registry names it (kind ``model``), and files name the row, never a class: what nobody has
    registered is refused. Instances have no state.
    """

    #: The name in the registry and in files.
    name: ClassVar[str]

    @abstractmethod
    def holds(self, model: Any) -> bool:
        """Whether it is a model of this kind, with nothing that this kind would leave out."""

    @abstractmethod
    def settings(self, model: Any) -> dict[str, Any]:
        """Everything but its modules, as JSON values."""

    @abstractmethod
    def modules(self, model: Any) -> dict[str, Module]:
        """Its modules by name; "network" is the one whose weights may be averaged."""

    @abstractmethod
    def build(self, settings: Mapping[str, Any], modules: Mapping[str, Any]) -> Any:
        """The model of :meth:`settings` and of the modules as they were loaded."""


class DenoiserKind(ModelKind):
    """A :class:`~windvane.denoiser.NetworkDenoiser`: one network."""

    name = "denoiser"

    def holds(self, model: Any) -> bool:
        return type(model) is NetworkDenoiser and not others(model, ("network",))

    def settings(self, model: NetworkDenoiser) -> dict[str, Any]:
        return {
            "process": model.process.to_config(),
            "parametrisation": model.parametrisation,
            "time": model.time,
            "sigma_data": model.sigma_data,
            "shape": None if model.shape is None else list(model.shape),
            **({} if model.clip is None else {"clip": model.clip}),
        }

    def modules(self, model: NetworkDenoiser) -> dict[str, Module]:
        return {"network": unwrapped(model.network)}

    def build(self, settings: Mapping[str, Any], modules: Mapping[str, Any]) -> NetworkDenoiser:
        made = NetworkDenoiser(
            modules["network"],
            process_from_config(settings["process"]),
            parametrisation=settings["parametrisation"],
            shape=settings["shape"],
            sigma_data=settings["sigma_data"],
            time=settings["time"],
        )
        made.clip = settings.get("clip")
        return made


def others(model: nn.Module, known: tuple[str, ...]) -> list[str]:
    """Modules of a model beside those of these names; what is a codec without weights counts, too."""
    named = [name for name, _ in model.named_children() if name not in known]
    codec = getattr(model, "codec", None)
    return [*named, "codec"] if codec is not None and "codec" not in (*named, *known) else named


def kind_of(model: Any) -> ModelKind:
    """The kind that holds a model whole.

    Raises:
        ValueError: none does; the message says what would be left out, or how it is saved instead.
    """
    for row in entries("model"):
        kind = row.load()()
        if kind.holds(model):
            return kind
    if not isinstance(model, NetworkDenoiser):
        hint = (
            "guidance is no part of a model: save the denoiser inside, and guide it when it is loaded"
            if isinstance(model, Denoiser)
            else f"the kinds of models are {', '.join(row.name for row in entries('model'))}"
        )
        raise ValueError(f"{name_of(model)} is not saved as a model; {hint}")
    if type(model) is not NetworkDenoiser:
        raise ValueError(
            f"{name_of(model)} would be a plain NetworkDenoiser when it is loaded; a pipeline keeps its own "
            "folder, and a class of one's own needs a kind of model in the registry"
        )
    raise ValueError(
        f"this denoiser has {', '.join(others(model, ('network',)))} beside its network, which no kind of "
        f"model saves ({', '.join(row.name for row in entries('model'))}); take that away, or register a kind"
    )


def unwrapped(network: nn.Module) -> Network:
    """The network inside what ``torch.compile`` and data-parallel training wrap around it."""
    inner: Any = network
    while not isinstance(inner, Network):
        inner = getattr(inner, "_orig_mod", None) or getattr(inner, "module", None)
        if inner is None:
            raise ValueError(
                f"a model folder holds a windvane network, got {type(network).__name__}; derive it from "
                "windvane.networks.Network and call register_network"
            )
    return inner
