"""What both ways of making masks share: an id for every pixel of new images."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from windvane.annotate.dense.dense_extractor import DenseExtractor
from windvane.annotate.features.extraction import extract
from windvane.annotate.features.extractor import Images, text_key, version
from windvane.annotate.process_group import Group
from windvane.files import discard

T = TypeVar("T")

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
        if hasattr(self._segmenter, "to"):
            self._segmenter.to(device)

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
    return extract(
        _Checked(segmenter),
        data,
        batch_size=batch_size,
        dtype="uint8",
        cache=cache,
        device=device,
        group=group,
        progress=progress,
    )


class Fitted(Segmenter, Protocol):
    """A segmenter that learns from images: one of this library."""

    kind: str

    def settings(self) -> dict[str, Any]: ...

    def state(self) -> dict[str, Tensor]: ...

    @property
    def only_used(self) -> tuple[str, ...]:
        """The settings that what is learnt does not depend on, but only what is made of it."""
        ...

    def take(self, state: Mapping[str, Tensor]) -> None: ...


def fit_kept(
    segmenter: Fitted,
    data: Images,
    gather: Callable[[], T],
    learn: Callable[[T], None],
    *,
    cache: str | Path | None,
    group: Group,
) -> None:
    """Give a segmenter what it learns: from the cache, or anew.

    The same is learnt whatever ``only_used`` names, so it is kept once for all of these settings.
    All processes gather what is learnt from, which they may share; the first one learns and keeps the result,
    and all get it. Damage in the cache costs time and is no error.
    """
    from windvane.annotate.features.extractor_storage import load_extractor, save_extractor

    about = {name: value for name, value in segmenter.settings().items() if name not in segmenter.only_used}
    kept = None
    if cache is not None:
        kept = Path(cache) / f"segmenter-{text_key(segmenter.kind, about, data.fingerprint)}"

    def read() -> dict[str, Tensor] | None:
        if kept is None or not kept.exists():
            return None
        try:
            found = load_extractor(kept, kinds={segmenter.kind: partial(_Learnt, segmenter.kind)}).state()
            segmenter.take(found)
            return found
        except ValueError as error:
            warnings.warn(f"fitted again: {error}", stacklevel=4)
            return None

    state = group.first(read)
    if state is None:
        gathered = gather()

        def learnt() -> dict[str, Tensor]:
            learn(gathered)
            if kept is not None:
                discard(kept)  # what was damaged
                kept_as: Any = _Learnt(segmenter.kind, about, segmenter.state())
                save_extractor(kept_as, kept)
            return segmenter.state()

        state = group.first(learnt)
    segmenter.take(state)


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
