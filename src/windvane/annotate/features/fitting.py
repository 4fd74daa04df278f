"""Extractors that learn from the user's images: learnt once, by one process for all, and kept."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from windvane.annotate.features.extractor import FittedExtractor, Images, text_key
from windvane.annotate.features.extractor_storage import Restore, load_extractor, restorers, save_extractor
from windvane.annotate.work import Work
from windvane.files import discard

E = TypeVar("E", bound=FittedExtractor)


def learnt(extractor: E, data: Images, work: Work, kinds: Mapping[str, Restore] | None = None) -> E:
    """The extractor fitted on the data by the first process, or the same one from the cache.

    Args:
        extractor: not fitted yet.
        data: the images.
        work: where to fit, the CPU if it does not say; with a cache it is kept there under its recipe and the
            images' hash.
        kinds: the extractors that can be built again from a file, by kind, by default the registered
            features; others are not kept.
    """
    kinds = restorers() if kinds is None else kinds
    if work.group.count == 1:
        return _alone(extractor, data, work, kinds)

    def fitted() -> tuple[dict[str, Any], dict[str, Tensor]]:
        made = _alone(extractor, data, work, kinds)
        return made.settings(), {key: value.cpu() for key, value in made.state().items()}

    return type(extractor).restore(*work.group.first(fitted))


def kept_at(extractor: FittedExtractor, data: Images, cache: str | Path | None) -> Path | None:
    """Where the extractor is kept once it has been fitted on the data, if there is a cache."""
    return (
        None if cache is None else Path(cache) / f"extractor-{text_key(extractor.recipe, data.fingerprint)}"
    )


def _alone(extractor: E, data: Images, work: Work, kinds: Mapping[str, Restore]) -> E:
    kept = None if extractor.kind not in kinds else kept_at(extractor, data, work.cache)
    if kept is not None and kept.exists():
        try:
            return load_extractor(kept, kinds=kinds)
        except ValueError as error:
            warnings.warn(f"learnt again: {error}", stacklevel=3)
    extractor.fit(data, progress=work.progress, device="cpu" if work.device is None else work.device)
    if kept is not None:
        discard(kept)  # what was damaged
        save_extractor(extractor, kept)
    return extractor
