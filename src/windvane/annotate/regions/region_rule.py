"""What finds boxes or masks in an image, as a rule that can be saved and used on new images."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from windvane.annotate.features.extractor import DenseExtractor, Images, version
from windvane.annotate.work import Work


class RegionRule(ABC):
    """A frozen map from images ``(B, C, H, W)`` to their regions, on the CPU, on frozen dense features.

    Boxes int64 ``(B, 4)`` in pixels, or ids uint8 ``(B, H, W)``. Rules have names in the registry, as
    annotators ``boxes:NAME`` and ``masks:NAME``; those that learn do so in :meth:`fitted`.

    Attributes:
        kind: of the rule, in files.
        extractor: the dense features.
        task: what a bar is about.
    """

    kind: ClassVar[str]
    extractor: DenseExtractor
    task: str

    @property
    def name(self) -> str:
        """The version: settings, features and a hash of what was learnt."""
        return version(self.kind, self.settings(), self.state() or None)

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """Regions of images ``(B, C, H, W)`` in [-1, 1]."""

    @abstractmethod
    def feature(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what an image of ``shape`` becomes: ``(4,)``, or ``(H, W)``."""

    def options(self) -> dict[str, Any]:
        """The settings as JSON values, without the features."""
        return {}

    def settings(self) -> dict[str, Any]:
        """What rebuilds it, besides the extractor and its state."""
        return {"extractor": self.extractor.name, **self.options()}

    def noted(self) -> dict[str, Any]:
        """What an annotation says of how it was made."""
        return {"extractor": self.extractor.name}

    def fitted(self, data: Images, work: Work) -> Self:
        """This rule, once it has learnt from a data set; here nothing is learnt."""
        return self

    def state(self) -> dict[str, Tensor]:
        """What was learnt: nothing."""
        return {}

    def take(self, state: Mapping[str, Tensor]) -> None:
        """Put what was learnt in place.

        Raises:
            ValueError: what does not fit.
        """
        if state:
            raise ValueError(f"{self.kind} learns nothing, got {', '.join(sorted(state))}")

    def to(self, device: str | torch.device) -> Self:
        """Move the features."""
        Work(device=device).move(self.extractor)
        return self

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], state: Mapping[str, Tensor], extractor: DenseExtractor
    ) -> Self:
        """What ``settings`` and ``state`` came from, on the same features.

        Raises:
            ValueError: features of another version, or a state that does not fit.
        """
        if extractor.name != settings["extractor"]:
            raise ValueError(f"made with the features {settings['extractor']}, not with {extractor.name}")
        options = {key: value for key, value in settings.items() if key != "extractor"}
        made = cls(extractor, **cls.read_options(options))  # type: ignore[call-arg]
        made.take(state)
        return made

    @classmethod
    def read_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that :meth:`options` gave as JSON values."""
        return dict(options)
