"""How something is computed over the images of a data set."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch

from windvane.annotate.process_group import Group


@dataclass(frozen=True)
class Work:
    """Where to compute, what to keep, who shares it, and what to show.

    Args:
        batch_size: images at once; no result depends on it.
        device: where to compute; what has a ``to`` method is moved there. None moves nothing.
        cache: a folder where everything learnt and found is kept, so that a killed run goes on where it was
            and nothing is computed twice; damage there costs time and is no error. None keeps nothing.
        group: the processes that make the same calls, share the images and all get the result; more than
            one need a ``cache`` that all of them see.
        progress: show bars.
    """

    batch_size: int = 256
    device: str | torch.device | None = None
    cache: str | Path | None = None
    group: Group = field(default_factory=Group)
    progress: bool = True

    @classmethod
    def of(
        cls,
        batch_size: int,
        device: str | torch.device | None,
        cache: str | Path | None,
        group: Group | None,
        progress: bool,
    ) -> Self:
        """The same of a public function's keywords, where no group is this process alone."""
        return cls(batch_size, device, cache, Group() if group is None else group, progress)

    def alone(self) -> Self:
        """The same by this process, quietly, with nothing kept."""
        return replace(self, cache=None, group=Group(), progress=False)

    def move(self, extractor: Any) -> None:
        """Move an extractor to the device, where one is named and it can be moved."""
        if self.device is not None and hasattr(extractor, "to"):
            extractor.to(self.device)

    def check(self) -> None:
        """Refuse several processes that see no folder in common, or empty batches."""
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.group.count > 1 and self.cache is None:
            raise ValueError(f"{self.group.count} processes need cache=, a folder that all of them see")
