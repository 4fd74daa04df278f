"""What both ways of making masks share: an id for every pixel of new images."""

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor

from windvane.annotate.dense.dense_extractor import DenseExtractor
from windvane.annotate.features.extraction import extracted
from windvane.annotate.features.extractor import Images, text_key, version
from windvane.annotate.features.extractor_storage import load_extractor, save_extractor
from windvane.annotate.process_group import Group
from windvane.annotate.regions.region_rule import RegionRule
from windvane.annotate.work import Work
from windvane.files import discard

#: Masks hold ids in one byte.
MOST = 255
#: Features on pixels take at most so much memory at a time.
PIXEL_BYTES = 1 << 28


class Segmenter(Protocol):
    """A fitted, frozen map from images to one id a pixel.

    ``name`` is a version that changes with every setting and everything learnt; ``extractor`` are the dense
    features it stands on.
    """

    @property
    def name(self) -> str: ...

    @property
    def k(self) -> int: ...

    @property
    def extractor(self) -> DenseExtractor: ...

    def __call__(self, images: Tensor) -> Tensor:
        """Ids uint8 ``(B, H, W)``, on the CPU, of images ``(B, C, H, W)`` in [-1, 1]."""
        ...


class _Checked:
    """A segmenter as something that is computed image by image; what it gives is looked at."""

    task = "masks"

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter, self.name = segmenter, segmenter.name

    def feature(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[-2], shape[-1]

    def to(self, device: str | torch.device) -> None:
        Work(device=device).move(self._segmenter)

    def __call__(self, images: Tensor) -> Tensor:
        made, expected = self._segmenter(images), (len(images), *images.shape[-2:])
        if made.shape != expected or int(made.max()) >= self._segmenter.k:
            raise ValueError(
                f"{self.name} gave ids up to {int(made.max())} of shape {tuple(made.shape)}; expected ids "
                f"below {self._segmenter.k} of shape {expected}"
            )
        return made


def segment(
    segmenter: Segmenter,
    data: Images,
    *,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    cache: str | Path | None = None,
    group: Group | None = None,
    progress: bool = True,
) -> Tensor:
    """Ids of every pixel of a data set, uint8 ``(n, H, W)``; the result does not depend on the batches.

    Args:
        segmenter: fitted.
        data: the images.
        batch_size: images at once.
        device: where to compute; a segmenter with a ``to`` method is moved there. None moves nothing.
        cache: a folder where masks are kept in shards, one byte a pixel; a killed run goes on where it was.
        group: processes that share the work and all get all masks; they need a ``cache``.
        progress: show a bar.

    Raises:
        ValueError: no images, or ids of another shape than the images or out of range.
    """
    return segmented(segmenter, data, Work.of(batch_size, device, cache, group, progress))


def segmented(segmenter: Segmenter, data: Images, work: Work) -> Tensor:
    """:func:`segment`, by the work as one value."""
    return extracted(_Checked(segmenter), data, work, dtype="uint8")


class LearntSegmenter(RegionRule):
    """A segmenter that learns from images, and is a rule: one of this library.

    Attributes:
        k: the number of clusters.
        only_used: the settings that what is learnt does not depend on, but only what is made of it.
    """

    k: int
    only_used: ClassVar[tuple[str, ...]]
    task = "masks"

    def fit(
        self,
        data: Images,
        *,
        batch_size: int = 64,
        device: str | torch.device | None = None,
        cache: str | Path | None = None,
        group: Group | None = None,
        progress: bool = True,
    ) -> Self:
        """Learn from a data set, from scratch; the same seed gives the same masks.

        Args:
            data: the images.
            batch_size: images per call of the features.
            device: where to compute the features, and to train.
            cache: a folder where the features and then what is learnt are kept, so that a killed run goes on
                where it was, and the same is not learnt twice.
            group: processes that share the features and all get what the first one learns; they need a
                ``cache``.
            progress: show bars.

        Raises:
            ValueError: fewer images or patches than it needs.
        """
        return self.fitted(data, Work.of(batch_size, device, cache, group, progress))

    @abstractmethod
    def gathered(self, data: Images, work: Work) -> Tensor:
        """What is learnt from, which several processes may share."""

    @abstractmethod
    def learn(self, gathered: Tensor, progress: bool) -> None:
        """Learn from it."""

    def feature(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what an image of ``shape`` becomes."""
        return shape[-2], shape[-1]

    def fitted(self, data: Images, work: Work) -> Self:
        """This segmenter with what it learns: from the cache, or anew.

        The same is learnt whatever ``only_used`` names, so it is kept once for all of these settings.
        All processes gather; the first one learns and keeps the result, and all get it. Damage in the cache
        costs time and is no error.
        """
        about = {name: value for name, value in self.settings().items() if name not in self.only_used}
        kept = None
        if work.cache is not None:
            kept = Path(work.cache) / f"segmenter-{text_key(self.kind, about, data.fingerprint)}"

        def read() -> dict[str, Tensor] | None:
            if kept is None or not kept.exists():
                return None
            try:
                found = load_extractor(kept, kinds={self.kind: partial(_Learnt, self.kind)}).state()
                self.take(found)
                return found
            except ValueError as error:
                warnings.warn(f"fitted again: {error}", stacklevel=5)
                return None

        state = work.group.first(read)
        if state is None:
            gathered = self.gathered(data, work)

            def learnt() -> dict[str, Tensor]:
                self.learn(gathered, work.progress)
                if kept is not None:
                    discard(kept)  # what was damaged
                    kept_as: Any = _Learnt(self.kind, about, self.state())
                    save_extractor(kept_as, kept)
                return self.state()

            state = work.group.first(learnt)
        self.take(state)
        return self


class _Learnt:
    """What a segmenter learnt, and the settings that it depends on, as the cache keeps it."""

    def __init__(self, kind: str, about: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
        self.kind, self._about, self._state = kind, dict(about), dict(state)

    @property
    def name(self) -> str:
        return version(self.kind, self._about, self._state)

    def settings(self) -> dict[str, Any]:
        return self._about

    def state(self) -> dict[str, Tensor]:
        return self._state


def in_parts(maps: Tensor, images: torch.Size) -> Iterator[Tensor]:
    """Maps ``(B, D, h, w)``, so many rows at a time that as maps on pixels they stay below 256 MB."""
    size = 4 * maps.shape[1] * images[-2] * images[-1]
    yield from maps.split(max(1, PIXEL_BYTES // size))


def checked_k(k: int) -> int:
    """The number of clusters of a mask."""
    if not 1 <= k <= MOST:
        raise ValueError(f"masks have 1 to {MOST} clusters, got k={k}")
    return k
