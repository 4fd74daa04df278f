"""What is said of guides that changed nothing."""

from collections.abc import Hashable, Sequence

from windvane.guidance.guide import Guide
from windvane.guidance.step_weights import StepWeight


def key_of(guide: Guide) -> Hashable:
    """What tells guides apart in reports: their energy and what they push, whatever their windows."""
    return id(guide.energy), guide.push, guide.through


def why_idle(guides: Sequence[Guide]) -> str:
    """Why guides with one key had no weight in a run."""
    if all(g.scale == 0 for g in guides):
        return "its weight is 0"
    windows = [g.window for g in guides if g.window is not None]
    if len(windows) == len(guides):
        spans = " and ".join(f"({low:g}, {high:g})" for low, high in windows)
        return f"its window {spans} in sigma / alpha holds no step of the grid, or its weight is 0 there"
    stepped = [g.weight for g in guides if isinstance(g.weight, StepWeight)]
    if stepped:
        return f"its weight {stepped[0]} is 0 at every step; a step without noise has no variance"
    return "its weight is 0 at every step of the grid"
