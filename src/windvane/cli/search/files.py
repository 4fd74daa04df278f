"""The folder of a search: its best picture and its numbers, rewritten as it goes on."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.models import pictures_of
from windvane.files import atomic_write_json
from windvane.hashes import sealed
from windvane.invocation import made_by
from windvane.pictures import image_grid, save_png, to_picture, to_uint8

if TYPE_CHECKING:
    from torch import Tensor

    from windvane.denoiser import Denoiser

BEST, INDEX = "best.png", "search.json"


class SearchFolder:
    """The folder of a search: rewrites the picture when it is better, and the numbers."""

    def __init__(
        self, out: Path, about: dict[str, Any], denoiser: "Denoiser", order: dict[str, Any], until: int | None
    ) -> None:
        self.out, self.about, self.denoiser, self.order, self.until = out, about, denoiser, order, until
        self.best: list[float] | None = None

    def note(self, x: "Tensor", scores: list[float], spent: Any, *, done: bool = False) -> None:
        """The best so far ``(n, C, H, W)`` with their scores."""
        late = self.until is not None and spent.rows > self.until
        if self.best is None or (scores != self.best and not late):
            self.best = scores
            levels = self.levels(x)
            picture = to_picture(levels[0], scale=_scale(levels)) if len(levels) == 1 else image_grid(levels)
            save_png(picture, self.out / BEST, {**self.told(BEST, spent.rows), "scores": scores})
        told = {
            "settings": self.about,
            "scores": scores,
            "network_calls": spent.calls,
            "network_rows": spent.rows,
            "verified": spent.verified,
            "done": done,
        }
        atomic_write_json(self.out / INDEX, sealed(told))

    def told(self, name: str, rows: int | None = None) -> dict[str, Any]:
        """The settings inside the picture of a name, which make the search again; `rows` spent until then."""
        order = {**self.order, "picture": name, "rows": rows}
        return {**self.about, "order": order, **made_by()}

    def levels(self, x: "Tensor") -> Any:
        """The pictures of samples, uint8."""
        device = next((p.device for p in self.denoiser.parameters()), x.device)
        return to_uint8(pictures_of(self.denoiser, x.to(device)))


def _scale(levels: Any) -> int:
    return max(1, math.ceil(64 / min(levels.shape[2:])))
