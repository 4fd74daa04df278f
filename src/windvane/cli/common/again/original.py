"""A picture that a command made, as far as it says how it is made once more."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from windvane.cli.common.again.commands import command_again
from windvane.cli.common.errors import say
from windvane.cli.common.models import check_model_path
from windvane.cli.common.processes import processes
from windvane.pictures import read_pixels

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    #: What makes a picture again: it and its settings, or None where only its command does.
    Repeat = Callable[["Original"], tuple[Image, dict[str, Any]] | None]


@dataclass(frozen=True)
class Original:
    """The first picture.

    Args:
        image: its file.
        settings: inside it.
        out: the folder of the second one.
        model: where the model is now; default the place that the settings name.
        force: go on although what made the picture is no longer what it was.
    """

    image: Path
    settings: dict[str, Any]
    out: Path
    model: Path | None
    force: bool

    @cached_property
    def device(self) -> str:
        """Where the second picture is made."""
        return processes().device

    def differ(self, what: str) -> None:
        """Refuse a difference in what makes the picture, or only say so."""
        if not self.force:
            raise ValueError(f"{what}; --force makes the picture of what is there now")
        say(what)

    def refuse_code(self, why: str) -> NoReturn:
        """Refuse what would run code only because a picture says so, and name the command that may."""
        command = "windvane with the same flags"
        if "command" in self.settings:
            command = command_again(self.image, self.settings, self.out)
        raise ValueError(f"{self.image} {why}, and no picture may run that; this makes it again: {command}")

    def place(self, settings: Mapping[str, Any] | None = None) -> Path:
        """Where the model is: where the user says, or else where the settings say."""
        told = (self.settings if settings is None else settings).get("model")
        if self.model is None and not isinstance(told, str):
            raise ValueError(f"{self.image} does not say which model made it; give its folder as RUN")
        place = self.model or Path(str(told))
        if self.model is None and not place.exists():
            raise ValueError(
                f"the model of {self.image} was at {place}, where nothing is now; give its folder as RUN"
            )
        check_model_path(place)
        return place

    def levels(self, make: "Callable[[bool], np.ndarray]") -> "tuple[np.ndarray, bool]":
        """The levels (C, H, W) of one picture, and whether it took the batch of then.

        A sample does not depend on its batch, but a last bit of a convolution may. So the picture is made
        alone, and where a pixel differs once more in a batch of the first one's size.

        Args:
            make: the levels, of a picture alone or in that batch.
        """
        alone, first = make(False), read_pixels(self.image)
        if self.force or (alone.shape == first.shape and not (alone != first).any()):
            return alone, False
        return make(True), True
