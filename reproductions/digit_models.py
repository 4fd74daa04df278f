"""What the reproductions about steering share: an unconditional digit denoiser, and small table helpers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.data import ImageData
from windvane.denoiser import Denoiser, NetworkDenoiser
from windvane.judges import Judge
from windvane.metrics import extract_features, frechet, manifold, over_seeds
from windvane.networks import ResidualMLP
from windvane.process import Process, VPLinear
from windvane.randomness import scoped_seed
from windvane.samplers import Sampler, sample
from windvane.training import train

PROCESS = VPLinear()
STEPS = 40
SHAPE = (1, 8, 8)
#: Predictions are kept within the data's range, after the energies have seen them.
CLIP = 1.0


def labels_of(data: ImageData) -> Tensor:
    """The digits' labels."""
    if data.labels is None:
        raise SystemExit("the digits come with labels")
    return data.labels


def images_of(data: ImageData) -> Tensor:
    """All images, ``(n, 1, 8, 8)``."""
    return data.batch(slice(None))


def unconditional(data: ImageData, steps: int, seed: int, process: Process = PROCESS) -> Denoiser:
    """A residual MLP trained without labels; the average of its weights."""
    with scoped_seed(seed):
        network = ResidualMLP.build(shape=SHAPE, width=192, blocks=3)
    denoiser = NetworkDenoiser(network, process, parametrisation="edm", shape=SHAPE)
    found = train(
        denoiser, data, steps=steps, batch_size=128, lr=2e-3, warmup=100, ema_decay=0.998, seed=seed,
        progress=False, log_every=steps,
    )  # fmt: skip
    found.ema.requires_grad_(False)
    return found.ema


def distance(images: Tensor, judge: Judge, reference: Tensor) -> float:
    """Fréchet distance in the judge's features."""
    features = extract_features(images.clamp(-1, 1), judge, progress=False)
    return frechet(features, reference, resamples=0, bias=False).value


def coverage(images: Tensor, judge: Judge, reference: Tensor) -> tuple[float, float]:
    """Precision and recall in the judge's features."""
    found = manifold(extract_features(images.clamp(-1, 1), judge, progress=False), reference, resamples=0)
    values = {m.name: m.value for m in found}
    return values["precision"], values["recall"]


def agreement(images: Tensor, judge: Judge, wanted: Tensor) -> float:
    """The share of images that the judge takes for the digit wanted."""
    with torch.no_grad():
        return float((judge.classify(images.clamp(-1, 1)).argmax(1) == wanted).double().mean())


def mean(values: Sequence[float]) -> float:
    """The plain mean."""
    return sum(values) / len(values)


def over(values: Sequence[float], digits: int = 2, significant: int | None = None) -> str:
    """``mean ± half the 95 % interval`` over trainings, the one value, or a dash where one is missing.

    ``digits`` after the point, or ``significant`` ones, of which the interval has one less.
    """
    form = f".{digits}f" if significant is None else f".{significant}g"
    if not all(map(math.isfinite, values)):
        return "–"
    if len(values) == 1:
        return f"{values[0]:{form}}"
    middle, _, high = over_seeds(list(values))
    less = form if significant is None else f".{significant - 1}g"
    return f"{middle:{form}} ± {high - middle:{less}}"


def bar(holds: bool) -> str:
    """How a bar came out."""
    return "holds" if holds else "does not hold"


def wanted(n: int) -> Condition:
    """Every digit as often as any other."""
    return Condition({"target": torch.arange(n) % 10})


@dataclass
class Figures:
    """One entry per training."""

    distance: list[float] = field(default_factory=list)
    agreement: list[float] = field(default_factory=list)
    precision: list[float] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)

    def row(self) -> list[str]:
        return [over(v) for v in (self.distance, self.agreement, self.precision, self.recall)]


@dataclass(frozen=True)
class Court:
    """Draws samples and judges them."""

    judge: Judge
    reference: Tensor
    samples: int

    def draw(self, denoiser: Denoiser, sampler: Sampler, seed: int) -> Tensor:
        return sample(
            denoiser, seeds=100_000 * (seed + 1), n=self.samples, cond=wanted(self.samples),
            sampler=sampler, steps=STEPS, clip=CLIP, progress=False,
        ).x  # fmt: skip

    def measure(self, images: Tensor, found: Figures) -> None:
        found.distance.append(distance(images, self.judge, self.reference))
        found.agreement.append(agreement(images, self.judge, wanted(len(images)).signals["target"]))
        precision, recall = coverage(images, self.judge, self.reference)
        found.precision.append(precision)
        found.recall.append(recall)
