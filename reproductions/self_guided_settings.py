"""The scales of the self-guided reproduction, and the arms that every scale compares."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from digit_models import labels_of

from windvane.annotate import annotate
from windvane.annotate.controls import random_ids
from windvane.annotate.features import DenoiserFeatures
from windvane.data import ImageData
from windvane.denoiser import Denoiser, NetworkDenoiser
from windvane.networks import ConditionedDiT, preset
from windvane.process import VPCosine
from windvane.randomness import derive_seed, scoped_seed
from windvane.tasks.self_guided import Budget, Variant
from windvane.tasks.self_guided.experiment import Maker, digit_denoiser

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NONE, TRUE = "none", "true labels"
#: Marks the arm on the unconditional denoiser's own features.
OWN = "own denoiser"
#: Largest class over smallest, of the long tails.
RATIO = 20.0

#: Makes an arm; it is given the unconditional denoiser, which is trained first.
Builder = Callable[[Denoiser | None], Variant]


@dataclass(frozen=True)
class Setting:
    """What differs between the scales.

    Args:
        clusters: numbers of clusters of the PCA arms; the middle one serves the other arms.
        extractors: of arms beside PCA.
        samples, batch: to draw of every arm, and how many at a time.
        judge_steps, judge_kind: of the classifier in whose features distances are taken.
        images: how many training images the generators see, None for all.
        encoder_steps: 0, or the steps of a second eye that learns from held-out images without labels.
    """

    name: str
    budget: Budget
    make: Maker
    clusters: tuple[int, ...]
    extractors: tuple[str, ...]
    samples: int
    batch: int | None
    judge_steps: int
    judge_kind: Literal["mlp", "conv"] | None = None
    images: int | None = None
    weights: tuple[float, ...] = (1.0, 1.5, 2.0)
    encoder_steps: int = 0
    device: str = "cpu"

    @property
    def middle(self) -> int:
        return self.clusters[len(self.clusters) // 2]


def cifar_denoiser(k: int, seed: int) -> NetworkDenoiser:
    """A UNet of DDPM's size for 32x32 colour images, run in bf16."""
    with scoped_seed(derive_seed(seed, 1)):
        network = preset("unet-cifar", shape=(3, 32, 32), vector=k or None)
    if DEVICE == "cuda":
        network = network.to("cuda", memory_format=torch.channels_last)
    return NetworkDenoiser(
        network, VPCosine(), parametrisation="v", shape=(3, 32, 32), autocast=torch.bfloat16
    )


def small_colour_denoiser(k: int, seed: int) -> NetworkDenoiser:
    """A transformer of 0.8 M parameters for 32x32 colour images, quick on a CPU."""
    shape = (3, 32, 32)
    with scoped_seed(derive_seed(seed, 1)):
        network = ConditionedDiT.build(shape=shape, vector=k or None, width=96, depth=4, heads=4, patch=4)
    return NetworkDenoiser(network, VPCosine(), parametrisation="v", shape=shape)


SCALES = {
    "small": Setting("digits", Budget(), digit_denoiser, (10, 30, 100), ("selfsup",), 1198, None, 600),
    "colour": Setting(
        "CIFAR-10 on a CPU",
        Budget(steps=700, batch_size=32, lr=1e-3, warmup=50, ema_decay=0.995, sampling_steps=20),
        small_colour_denoiser, (100,), ("selfsup:400",), 500, 125, 800, "mlp", 10_000, (1.0, 2.0), 400,
    ),
    "full": Setting(
        "CIFAR-10",
        Budget(
            steps=60_000, batch_size=128, lr=2e-4, warmup=500, ema_decay=0.9999, flip=True,
            mixed_precision="bf16", compile=True, sampling_steps=50,
        ),
        cifar_denoiser, (10, 100, 400), ("selfsup",), 10_000, 500, 8000, device=DEVICE,
    ),
}  # fmt: skip


def self_labels(train: ImageData, features: object, k: int, seed: int, device: str) -> Variant:
    """Cluster ids of the training images as a condition."""
    annotation = annotate(train, features=features, k=k, seed=seed, device=device, progress=False)  # type: ignore[arg-type]
    return Variant("", annotation.ids, k)


def arms(setting: Setting, train: ImageData, seed: int) -> dict[str, Builder]:
    """The arms by name; the one without a condition comes first, for the last one's features."""
    labels, middle, device = labels_of(train), setting.middle, setting.device

    def chance(_: Denoiser | None) -> Variant:
        base = self_labels(train, "pca", middle, seed, device)
        return Variant("", None if base.ids is None else random_ids(base.ids, seed=seed), middle)

    def own(unconditional: Denoiser | None) -> Variant:
        if not isinstance(unconditional, NetworkDenoiser):
            raise SystemExit(f"the arm on the denoiser's own features needs the arm {NONE!r}, before it")
        return self_labels(train, DenoiserFeatures(unconditional, t=0.2), middle, seed, device)

    made: dict[str, Builder] = {
        NONE: lambda _: Variant(NONE),
        f"random ids, K={middle}": chance,
        TRUE: lambda _: Variant("", labels, int(labels.max()) + 1),
    }
    for k in setting.clusters:
        made[f"self-labels, pca, K={k}"] = lambda _, k=k: self_labels(train, "pca", k, seed, device)
    for kind in setting.extractors:
        name = f"self-labels, {kind}, K={middle}"
        made[name] = lambda _, kind=kind: self_labels(train, kind, middle, seed, device)
    made[f"self-labels, {OWN}, K={middle}"] = own
    return made
