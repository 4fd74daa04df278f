"""Extractors that are one network, learnt on the user's images: their versions, settings and weights."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from windvane.annotate.features.extractor import version
from windvane.randomness import generator

N = TypeVar("N", bound=nn.Module)


class LearntNetwork(ABC, Generic[N]):
    """What :class:`SelfSup` and :class:`Restoration` share beside their trainings.

    Attributes:
        kind: of the extractor, in files.
        options: names of the settings, in the order of files.
        what: what messages call it.
        missing: what is said where it is used before it was fitted.
        network: None before the fit.
        shape: of the images it was fitted on.
        losses: of every step of the fit.
    """

    kind: str
    options: ClassVar[str]
    what: ClassVar[str]
    missing: ClassVar[str]

    def __init__(self) -> None:
        self.network: N | None = None
        self.shape: tuple[int, ...] | None = None
        self.losses: list[float] = []
        self._name = ""

    @abstractmethod
    def untrained(self, shape: tuple[int, ...], seed: int) -> N:
        """The network for images of a shape, with weights drawn from ``seed`` alone."""

    def recipe_settings(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return {name: getattr(self, name) for name in self.options.split()}

    @classmethod
    def read_settings(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that :meth:`recipe_settings` gave as JSON values."""
        return dict(settings)

    @property
    def recipe(self) -> str:
        """Kind and settings, without what was learnt from the data."""
        return version(self.kind, self.recipe_settings())

    @property
    def name(self) -> str:
        """The version of these features: settings and a hash of the weights."""
        self.trained()
        return self._name

    @property
    def fitted(self) -> bool:
        """Whether ``fit`` was called."""
        return self.network is not None

    def trained(self) -> N:
        """The network, once it has been fitted."""
        if self.network is None:
            raise ValueError(f"{self.missing} yet: call .fit(data) first")
        return self.network

    def take(self, network: N, shape: tuple[int, ...]) -> None:
        """Freeze a network that was fitted on images of a shape."""
        self.network, self.shape = network.eval().requires_grad_(False), shape
        self._name = version(self.kind, self.recipe_settings(), network.state_dict())

    def suited(self, images: Tensor) -> N:
        """The network, for images ``(B, C, H, W)`` of as many channels as it was fitted on."""
        network = self.trained()
        if self.shape is None or images.shape[1] != self.shape[0]:
            raise ValueError(f"trained on images of shape {self.shape}, got {tuple(images.shape[1:])}")
        return network

    def to(self, device: str | torch.device) -> Self:
        """Move the network."""
        self.trained().to(device)
        return self

    def settings(self) -> dict[str, Any]:
        """What rebuilds this extractor, besides its state."""
        self.trained()
        return {**self.recipe_settings(), "shape": list(self.shape or ())}

    def state(self) -> dict[str, Tensor]:
        """The network's weights."""
        return {key: value.detach().cpu() for key, value in self.trained().state_dict().items()}

    @classmethod
    def restore(cls, settings: Mapping[str, Any], state: Mapping[str, Tensor]) -> Self:
        """The extractor that ``settings`` and ``state`` came from.

        Raises:
            ValueError: weights that do not fit the settings.
        """
        named = {key: value for key, value in settings.items() if key != "shape"}
        made, shape = cls(**cls.read_settings(named)), tuple(settings["shape"])
        network = made.untrained(shape, 0)
        try:
            network.load_state_dict(dict(state))
        except RuntimeError as error:
            raise ValueError(f"the weights do not fit {cls.what} of {settings}: {error}") from error
        made.take(network, shape)
        return made


def initialised(build: Callable[[], N], seed: int) -> N:
    """A module with weights drawn from ``seed`` alone: He-normal weights, zero biases, unit norms."""
    # Made without memory first: the layers' own initialisation would draw from torch's global generator.
    with torch.device("meta"):
        module = build()
    module = module.to_empty(device="cpu")
    numbers = generator(seed, 0)
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            fan = part.weight[0].numel()
            part.weight.data.normal_(0, math.sqrt(2 / fan), generator=numbers)
            part.bias.data.zero_()  # type: ignore[union-attr]
        elif isinstance(part, nn.GroupNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
    return module
