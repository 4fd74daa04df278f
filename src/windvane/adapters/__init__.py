"""Models of other libraries, brought to Windvane's contracts. Those libraries are imported on first use.

Names are imported when first used, so that what needs no torch can be asked without it.
"""

import importlib
from typing import Any

_NAMES = {
    "classifiers": ["Classifier", "load_classifier"],
    "export": ["to_pipeline"],
    "guider": ["GuidedByDiffusers"],
    "latent": ["Latent"],
    "pipeline": ["PipelineDenoiser", "from_pipeline"],
    "scheduler": ["DiffusersScheduler"],
    "sentences": ["SentenceEncoder", "load_sentence_encoder"],
    "text_image": ["TextImage", "load_text_image"],
}
_WHERE = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_WHERE)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(f"windvane.adapters.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'windvane.adapters' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
