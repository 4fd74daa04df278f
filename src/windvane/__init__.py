"""Windvane: steer diffusion models without labels, captions or retraining.

Names are imported when first used, so that ``import windvane`` is quick and does not import torch.
"""

import importlib
from typing import Any

from windvane._moved import forward_old_names
from windvane._version import __version__

_NAMES = {
    "process": ["EDM", "PFGMPP", "Process", "RectifiedFlow", "VPCosine", "VPLinear", "VPTable"],
    "conditions": ["Condition"],
    "denoiser": ["Denoiser", "FunctionDenoiser", "NetworkDenoiser"],
    "exact": ["GaussianDenoiser", "GaussianMixtureDenoiser"],
    "evaluations": ["count_evaluations"],
    "checkpoint": ["load", "save_model"],
    "adapters": ["from_pipeline", "to_pipeline"],
    "samplers": [
        "DDIM",
        "DDPM",
        "DPMSolverPP",
        "DPMSolverSDE",
        "DPMSolverSinglestep",
        "EVODiff",
        "Euler",
        "Heun",
        "Samples",
        "UniPC",
        "sample",
        "sample_batches",
    ],
    "guidance": ["ClassifierFree", "interval"],
    "data": ["ImageData", "open_data"],
    "annotate": ["Annotation", "Clusters"],
    "training": ["train"],
    "runs": ["Run"],
    "catalog": ["cite"],
}
forward_old_names()
_WHERE = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["__version__", *sorted(_WHERE)]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(f"windvane.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'windvane' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
