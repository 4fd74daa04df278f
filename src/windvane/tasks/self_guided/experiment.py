"""One arm of the comparison: its condition, its training, its samples. All arms get the same budget."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.data import ImageData
from windvane.denoiser import Denoiser, NetworkDenoiser
from windvane.guidance import ClassifierFree
from windvane.networks import ResidualMLP
from windvane.process import VPCosine
from windvane.randomness import derive_seed, generator, scoped_seed
from windvane.runs import Run
from windvane.samplers import DDIM, sample
from windvane.training import train

#: Builds an untrained denoiser: (number of ids, 0 for none; seed) -> denoiser.
Maker = Callable[[int, int], NetworkDenoiser]


@dataclass(frozen=True)
class Budget:
    """What every arm may spend on training and on the steps of a sample."""

    steps: int = 2000
    batch_size: int = 256
    lr: float = 2e-3
    warmup: int = 100
    ema_decay: float = 0.998
    flip: bool = False
    mixed_precision: str = "no"
    compile: bool = False
    sampling_steps: int = 40


@dataclass(frozen=True)
class Variant:
    """An arm: what each training image is conditioned on, or nothing.

    Args:
        name: for tables and folders.
        ids: ``(n,)`` in 0..k-1, or real vectors ``(n, k)``, or None for the unconditional model.
        k: the number of ids, or the length of the vectors.
        kind: what the ids are, as `windvane sample` and its kin call them: "clusters" or "labels".
    """

    name: str
    ids: Tensor | None = None
    k: int = 0
    kind: str = "clusters"

    def condition(self) -> Condition | None:
        """The condition of every training image."""
        return None if self.ids is None else Condition.vector(self.ids)

    def asked(self) -> dict[str, Any]:
        """What the model may be asked for, as `windvane sample` looks for it in a model folder."""
        if self.ids is None:
            return {}
        if self.ids.is_floating_point():
            return {"condition": {"kind": "vectors", "count": self.k, "sizes": None, "names": None}}
        sizes = torch.bincount(self.ids, minlength=self.k).tolist()
        return {"condition": {"kind": self.kind, "count": self.k, "sizes": sizes, "names": None}}

    def draw(self, n: int, seed: int) -> Tensor | None:
        """Ids or vectors for ``n`` samples: those of the training images, dealt without replacement.

        Their shares then equal the training set's (exactly where n is a multiple of its size), and differ
        between seeds by nothing but order.
        """
        if self.ids is None:
            return None
        rounds = -(-n // len(self.ids))
        deals = [torch.randperm(len(self.ids), generator=generator(seed, 77, r)) for r in range(rounds)]
        return self.ids[torch.cat(deals)[:n]]


def digit_denoiser(k: int, seed: int) -> NetworkDenoiser:
    """The denoiser of the digits: a residual MLP that predicts v on the cosine process."""
    with scoped_seed(derive_seed(seed, 1)):
        network = ResidualMLP.build(shape=(1, 8, 8), vector=k or None)
    return NetworkDenoiser(network, VPCosine(), parametrisation="v", shape=(1, 8, 8))


def fit(
    variant: Variant,
    data: ImageData,
    budget: Budget,
    *,
    make: Maker = digit_denoiser,
    seed: int = 0,
    run: Run | None = None,
    progress: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> Denoiser:
    """Train the arm and return its averaged denoiser. With a ``run`` it is resumed and stored there."""
    result = train(
        make(variant.k, seed),
        data,
        conditions=variant.condition(),
        steps=budget.steps,
        batch_size=budget.batch_size,
        lr=budget.lr,
        warmup=min(budget.warmup, budget.steps),
        ema_decay=budget.ema_decay,
        flip=budget.flip,
        mixed_precision=budget.mixed_precision,
        compile=budget.compile,
        seed=seed,
        run=run,
        checkpoint_every=budget.steps,
        log_every=max(1, budget.steps // 40),
        progress=progress,
        extra={**variant.asked(), **(extra or {})},
    )
    if result.interrupted:
        raise KeyboardInterrupt
    return result.ema


def generate(
    denoiser: Denoiser,
    variant: Variant,
    *,
    n: int,
    seed: int,
    weight: float = 1.0,
    steps: int = 40,
    batch_size: int | None = None,
    progress: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """``n`` samples of the arm and the ids or vectors asked for; DDIM with predictions clipped to [-1, 1]."""
    ids = variant.draw(n, seed)
    guided: Denoiser = denoiser if ids is None else ClassifierFree(denoiser, weight)
    samples = sample(
        guided,
        seeds=derive_seed(seed, 5) >> 2,
        n=n,
        cond=None if ids is None else Condition.vector(ids),
        sampler=DDIM(),
        steps=steps,
        clip=1.0,
        batch_size=batch_size,
        progress=progress,
    )
    return samples.x, ids
