"""What is measured of an arm, and the table it goes into."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from windvane.data import ImageData
from windvane.judges import Judge
from windvane.metrics import Interval, extract_features, frechet, manifold, nearest, over_seeds

#: The measured quantities, in the order of the table.
QUANTITIES = ("frechet", "precision", "recall", "nearest")


@dataclass(frozen=True)
class Row:
    """One arm at one weight: each quantity with its interval over seeds."""

    name: str
    weight: float
    values: dict[str, Interval]
    seeds: int
    extra: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "values": {k: v._asdict() for k, v in self.values.items()}}


class Yardstick:
    """Measures samples against held-out images.

    Fréchet distance, precision and recall (5 neighbours) are taken in the judge's feature space; ``nearest``
    is the mean pixel distance to the nearest training image, to be compared with that of held-out images.

    Args:
        judge: a classifier whose features are used; it sees labels, the generators do not.
        train, held_out: the images.
    """

    def __init__(self, judge: Judge, train: ImageData, held_out: ImageData) -> None:
        self.judge = judge
        self.train = train.batch(slice(None)).flatten(1)
        self.held_out = held_out.batch(slice(None))
        self.reference = extract_features(self.held_out, judge, progress=False)

    def measure(self, images: Tensor) -> dict[str, float]:
        """Every quantity for one set of samples ``(n, C, H, W)``."""
        features = extract_features(images, self.judge, progress=False)
        shares = {m.name: m.value for m in manifold(features, self.reference, resamples=0)}
        distances = nearest(images.flatten(1), self.train).distances
        return {
            "frechet": frechet(features, self.reference, resamples=0, bias=False).value,
            "precision": shares["precision"],
            "recall": shares["recall"],
            "nearest": distances.mean().item(),
        }

    def row(self, name: str, weight: float, samples: Sequence[Tensor]) -> Row:
        """A row from several sets of samples, one per seed."""
        measured = [self.measure(images) for images in samples]
        values = {q: over_seeds([m[q] for m in measured]) for q in QUANTITIES}
        return Row(name, weight, values, len(samples))

    def real(self) -> dict[str, float]:
        """The floor: the training images measured as if they were samples.

        ``nearest`` is the held-out images' own mean distance to the training images.
        """
        images = self.train.reshape(-1, *self.held_out.shape[1:])
        features = extract_features(images, self.judge, progress=False)
        shares = {m.name: m.value for m in manifold(features, self.reference, resamples=0)}
        return {
            "frechet": frechet(features, self.reference, resamples=0, bias=False).value,
            "precision": shares["precision"],
            "recall": shares["recall"],
            "nearest": nearest(self.held_out.flatten(1), self.train).distances.mean().item(),
        }


def majority_agreement(judge: Judge, images: Tensor, wanted: Tensor, meaning: Tensor) -> float:
    """Share of samples that the judge puts into the label its id stands for."""
    with torch.no_grad():
        return (judge.classify(images).argmax(1) == meaning[wanted]).double().mean().item()


def format_rows(rows: Sequence[Row], real: dict[str, float]) -> str:
    """The table as plain text: mean ± half-width of the 95 % interval over seeds."""
    heads = ["condition", "weight", "Fréchet", "precision", "recall", "nearest"]
    digits = {"frechet": 2, "precision": 3, "recall": 3, "nearest": 2}
    lines = []
    for row in rows:
        cells = [row.name, f"{row.weight:g}"]
        for q in QUANTITIES:
            value = row.values[q]
            cells.append(f"{value.value:.{digits[q]}f} ± {value.high - value.value:.{digits[q]}f}")
        lines.append(cells)
    lines.append(["real training images", "", *(f"{real[q]:.{digits[q]}f}" for q in QUANTITIES)])
    widths = [max(len(line[i]) for line in [heads, *lines]) for i in range(len(heads))]
    out = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)) for line in [heads, *lines]]
    return "\n".join([out[0], "-" * len(out[0]), *out[1:]])
