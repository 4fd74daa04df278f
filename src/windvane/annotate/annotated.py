"""What every annotation of a data set can do, whatever it says of the images."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from torch import Tensor

from windvane.annotate.features.extractor import Images
from windvane.annotate.sealed_pair import write_pair
from windvane.conditions import Condition


class RowConditions(Protocol):
    """A condition for every image, made when its row is asked for."""

    def __len__(self) -> int: ...

    def index(self, rows: Tensor) -> Condition:
        """The conditions of the rows ``(B,)``."""
        ...


class Annotated(ABC):
    """What is known of n images of one data set, in their order.

    Whoever takes an annotation asks it, never which kind it is; only storage and pages look at ``kind``.

    Attributes:
        kind: "ids", "boxes" or "masks"; "boxes" and "masks" stand in files.
        files: what its description and its tensors are called in a folder.
        k: the number of ids; None where there are none.
        ids: of whole images ``(n,)``; None where there are none.
    """

    kind: ClassVar[str]
    files: ClassVar[tuple[str, str]]
    k: int | None
    ids: Tensor | None = None

    @property
    def n(self) -> int:
        """The number of images."""
        return len(self)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, rows: Tensor) -> Self:
        """An annotation of ``len(rows)`` images, the i-th with what is known of image ``rows[i]``."""

    @abstractmethod
    def drawn(self, seeds: Sequence[int]) -> Condition:
        """Conditions as often as in the training images, the i-th by ``seeds[i]`` alone."""

    @abstractmethod
    def conditions(self) -> RowConditions:
        """A condition for every image, for a training."""

    @abstractmethod
    def check(self, data: Images) -> None:
        """Refuse data that this does not belong to.

        Raises:
            ValueError: images of another size, another number of them, or other images.
        """

    @property
    def layout(self) -> tuple[int, tuple[int, int]] | None:
        """Channels and (height, width) of its maps; None where it has no maps."""
        return None

    @property
    def counts(self) -> list[int] | None:
        """Images per id; None where images have no ids."""
        return None

    @property
    @abstractmethod
    def title(self) -> str:
        """What its ids are called."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """What it is, in a few words."""

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Description (JSON values) and tensors, from which storage builds it again."""

    @abstractmethod
    def write_maker(self, folder: Path) -> None:
        """Write what made it into its folder, as far as that can be saved."""

    def save(self, path: str | Path) -> None:
        """Write it as a folder, atomically; an old annotation at ``path`` is replaced.

        Raises:
            ValueError: ``path`` is a file, or a folder with anything else in it.
        """
        write_pair(path, self.files, *self.state(), self.write_maker)
