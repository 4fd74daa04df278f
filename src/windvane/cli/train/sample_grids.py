"""Grids of samples that a training draws on the way."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from windvane.cli.common.conditions.requests import requests_for
from windvane.cli.common.conditions.vocabulary import KnownConditions
from windvane.cli.common.config import Config, write_yaml
from windvane.cli.common.grid_cells import TRAINING_GRID, GridCell, grid_settings
from windvane.cli.common.recipe import sampler_settings
from windvane.cli.common.sampling import draw
from windvane.invocation import made_by

if TYPE_CHECKING:
    from windvane.denoiser import Denoiser
    from windvane.runs import Run
    from windvane.samplers import Samples
    from windvane.training import Snapshot

_PICTURES = 36
_STEPS = 40
#: Steps of a grid that is only timed: enough for the solvers that look back.
_TIMED = 3


class SampleGrids:
    """A callback that writes a grid of samples of the averaged weights, always of the same seeds.

    Args:
        config: of the run; its section `sample` says how.
        known: what the model may be asked for.
        run: the folder.
        room: whether there is time for so many seconds; without it there always is.
    """

    def __init__(
        self,
        config: Config,
        known: KnownConditions | None,
        run: "Run",
        *,
        room: Callable[[float], bool] | None = None,
    ) -> None:
        # In the precision of the weights: the network is the one that trains.
        changes = {"steps": min(config.sample.steps, _STEPS), "precision": "float32"}
        self._section = config.sample.model_copy(update=changes)
        first = self._section.seed
        self._seeds = list(range(first, first + min(self._section.n, _PICTURES)))
        self._asked = requests_for(self._section, known, self._seeds, model=run.model)
        self._run, self.room = run, room
        #: What the training is in the end, in the form in which the grids hold it.
        self.config = config
        many = self._section.batch_size
        self._cells = [
            GridCell(
                seed,
                None if self._asked is None else self._asked.value(place),
                {"rows": min(many, len(self._seeds) - place + place % many), "row": place % many},
            )
            for place, seed in enumerate(self._seeds)
        ]
        #: Pictures that the network sees for a grid, at least.
        self.rows = len(self._seeds) * self._section.steps
        #: Seconds of a grid, as far as one has been drawn or timed.
        self.seconds = 0.0

    def __call__(self, snapshot: "Snapshot") -> None:
        from windvane.pictures import image_grid, save_png

        if self.room is not None and not self.room(self.seconds):
            return
        begin = time.perf_counter()
        made = self._drawn(snapshot.ema, self._section.steps)
        settings = {
            "task": TRAINING_GRID,
            "model": str(self._run.model.resolve()),
            "step": snapshot.step,
            **sampler_settings(self._section),
            "weights": "ema",
            **grid_settings(self._cells),
            **made_by(),
            "config": write_yaml(self.config),
        }
        save_png(image_grid(made.x), self._run.samples / f"step-{snapshot.step:08d}.png", settings)
        self.seconds = time.perf_counter() - begin

    def timed(self, denoiser: "Denoiser") -> float:
        """About how long a grid takes, from a few of its steps; nothing is written."""
        steps, training = min(_TIMED, self._section.steps), denoiser.training
        begin = time.perf_counter()
        try:
            self._drawn(denoiser.eval(), 1)  # what is imported and prepared once does not count
            begin = time.perf_counter()
            self._drawn(denoiser, steps)
        except FloatingPointError:
            pass  # before any training nobody promises finite samples
        finally:
            denoiser.train(training)
        self.seconds = (time.perf_counter() - begin) * self._section.steps / steps
        return self.seconds

    def _drawn(self, denoiser: "Denoiser", steps: int) -> "Samples":
        section = self._section.model_copy(update={"steps": steps})
        cond = None if self._asked is None else self._asked.condition()
        return draw(denoiser, section, seeds=self._seeds, cond=cond, batch_size=section.batch_size)


def after(grids: SampleGrids, seconds: float, run: "Run") -> "Callable[[Snapshot], None]":
    """A callback that draws the first grid after so many seconds, long before the others are due."""
    begin = time.monotonic()

    def write(snapshot: "Snapshot") -> None:
        if time.monotonic() - begin >= seconds and not any(run.samples.glob("step-*.png")):
            grids(snapshot)

    return write
