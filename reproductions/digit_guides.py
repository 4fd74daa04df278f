"""What the reproductions of classifier-steered sampling share: digits, a model, a guide and another judge."""

from dataclasses import dataclass

import torch
from digit_models import labels_of
from torch import Tensor, nn

from windvane.conditions import Condition
from windvane.data import ImageData, digits, train_and_held_out
from windvane.denoiser import Denoiser, NetworkDenoiser
from windvane.judges import Judge, train_judge
from windvane.metrics import extract_features, frechet
from windvane.networks import ResidualMLP
from windvane.process import VPCosine
from windvane.randomness import generator, scoped_seed
from windvane.training import train

PROCESS = VPCosine()
CLASSES = 10


@dataclass(frozen=True)
class Setting:
    """The digits in three parts: the guide's half of the training data, the judge's half, held-out images."""

    data: ImageData
    guides: ImageData
    judges: ImageData
    held_out: ImageData
    judge: Judge
    reference: Tensor

    def distance(self, images: Tensor) -> float:
        """Fréchet distance to the held-out digits in the judge's features."""
        features = extract_features(images.clamp(-1, 1), self.judge, progress=False)
        return frechet(features, self.reference, resamples=0, bias=False).value

    def pixel_distance(self, images: Tensor) -> float:
        """Fréchet distance to the held-out digits in pixels."""
        rows = images.clamp(-1, 1).flatten(1)
        return frechet(rows, self.held_out.batch(slice(None)).flatten(1), resamples=0, bias=False).value

    def accuracy(self, images: Tensor, wanted: Tensor) -> float:
        """The share of images that the judge, which did not guide, takes for what was asked for."""
        with torch.no_grad():
            return float((self.judge.classify(images.clamp(-1, 1)).argmax(1) == wanted).double().mean())


def setting(seed: int) -> Setting:
    """Split the training digits between guide and judge, and train the judge; what is held out is fixed."""
    data, held_out = train_and_held_out(digits(), seed=0)
    guides, judges = data.split((0.5, 0.5), seed)
    judge = train_judge(judges, test=(held_out, labels_of(held_out)), seed=seed, progress=False)
    return Setting(
        data,
        guides,
        judges,
        held_out,
        judge,
        extract_features(held_out.batch(slice(None)), judge, progress=False),
    )


def fit_denoiser(data: ImageData, steps: int, seed: int, *, batch: int = 512, width: int = 192) -> Denoiser:
    """A small MLP denoiser with 10 % label dropout; its null class is the unconditional model."""
    with scoped_seed(seed):
        network = ResidualMLP.build(shape=(1, 8, 8), vector=CLASSES, width=width, blocks=2)
    denoiser = NetworkDenoiser(network, PROCESS, parametrisation="v", shape=(1, 8, 8))
    found = train(
        denoiser, data, conditions=Condition.vector(labels_of(data)), steps=steps, batch_size=batch, lr=2e-3,
        warmup=100, ema_decay=0.998, seed=seed, progress=False, log_every=steps,
    )  # fmt: skip
    return found.ema


def fit_clean_classifier(
    data: ImageData, seed: int, *, steps: int = 600, width: int = 256, hidden: int = 2, noise: float = 0.0
) -> nn.Module:
    """An ordinary classifier: an MLP with ``hidden`` hidden layers, trained by cross-entropy.

    Args:
        noise: standard deviation, at most, of Gaussian noise on its training images; 0 for clean ones.
    """
    widths = [64, *[width] * hidden]
    with scoped_seed(seed):
        layers = [
            layer for a, b in zip(widths, widths[1:], strict=False) for layer in (nn.Linear(a, b), nn.ReLU())
        ]
        classifier = nn.Sequential(nn.Flatten(), *layers, nn.Linear(width, CLASSES))
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=1e-3)
    images, labels, random = data.batch(slice(None)), labels_of(data), generator(seed, 77)
    for _ in range(steps):
        rows = torch.randint(len(images), (128,), generator=random)
        seen = images[rows]
        if noise:
            level = noise * torch.rand(len(rows), 1, 1, 1, generator=random)
            seen = seen + level * torch.randn(seen.shape, generator=random)
        optimiser.zero_grad()
        nn.functional.cross_entropy(classifier(seen), labels[rows]).backward()
        optimiser.step()
    return classifier.eval().requires_grad_(False)


def bar(claim: str, measured: str, holds: bool) -> str:
    """One line of a verdict."""
    return f"- {claim}: {measured}, {'holds' if holds else 'does not hold'}"
