"""Steering a model that was trained without captions: by text, pictures, classes, measurements, and mixtures.

More Control for Free! (SDG), Liu et al. 2023, arXiv 2112.05744, and the family of classifier guidance.
"""

import warnings
from typing import Any

from windvane.guidance.methods import (
    DEFAULT,
    METHODS,
    Method,
    check_method,
    check_noisy,
    guidance,
    method,
)
from windvane.tasks.steering.experiment import Arm, steer
from windvane.tasks.steering.goals import (
    KINDS,
    Eyes,
    Wish,
    class_wish,
    combined,
    image_wish,
    measurement_wish,
    own_eyes,
    text_wish,
)
from windvane.tasks.steering.measure import Judges, Score, measured, unjudged
from windvane.tasks.steering.measurements import (
    OPERATIONS,
    Measured,
    open_measure,
    read_picture,
    split_measure,
)
from windvane.tasks.steering.page import before_and_after, sweep_grid, write_page
from windvane.tasks.steering.protocol import (
    Candidates,
    ProtocolResult,
    picture_candidates,
    protocol,
    text_candidates,
)

__all__ = [
    "DEFAULT",
    "KINDS",
    "METHODS",
    "OPERATIONS",
    "Arm",
    "Candidates",
    "Eyes",
    "Judges",
    "Measured",
    "Method",
    "ProtocolResult",
    "Score",
    "Wish",
    "before_and_after",
    "check_method",
    "check_noisy",
    "class_wish",
    "combined",
    "guidance",
    "image_wish",
    "measured",
    "measurement_wish",
    "method",
    "open_measure",
    "own_eyes",
    "picture_candidates",
    "protocol",
    "read_picture",
    "split_measure",
    "steer",
    "sweep_grid",
    "text_candidates",
    "text_wish",
    "unjudged",
    "write_page",
]


def __getattr__(name: str) -> Any:
    if name != "Found":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("windvane.tasks.steering.Found is now ProtocolResult", DeprecationWarning, stacklevel=2)
    return ProtocolResult
