"""Training the judge on the spot."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from windvane.judges.judge import WIDTH, Judge, Kind, initialise
from windvane.metrics.agreement import as_ids
from windvane.metrics.features import Images, iterate_images
from windvane.randomness import generator
from windvane.training.descent import descend, warm_cosine

_INITIAL, _SPLIT, _ORDER, _STEPS = range(4)


def train_judge(
    images: Images,
    labels: Tensor | None = None,
    *,
    test: tuple[Images, Tensor] | None = None,
    held_out: float = 0.2,
    kind: Kind | None = None,
    classes: int | None = None,
    steps: int = 600,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    noise: float = 0.1,
    shift: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Judge:
    """A `Judge` trained on ``images`` (n, C, H, W) and ``labels`` (n,).

    Adam with decoupled weight decay, cosine decay after a short warm-up, label smoothing 0.05, Gaussian
    noise of standard deviation ``noise`` and a random shift of up to ``shift`` pixels (None: a sixteenth of
    the side). The same seed gives the same judge on the same kind of machine; nothing global is seeded.

    Args:
        labels: None takes ``images.labels``. Images with the label -1 (none) are left out.
        test: images and labels on which to measure the accuracy. None holds out the share ``held_out`` of the
            images, chosen by ``seed``, and does not train on them; 0 measures no accuracy.
        kind: ``"mlp"`` or ``"conv"``; None chooses conv from 16 pixels a side.
        classes: number of labels; None is the largest label + 1.
        steps, batch_size, learning_rate: of the training.

    Raises:
        ValueError: labels missing, of the wrong number or of one class only; nothing left to train on.
    """
    given = labels if labels is not None else getattr(images, "labels", None)
    if given is None:
        raise ValueError("a judge needs labels: give them, or images that carry labels")
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out is a share in [0, 1), got {held_out}")
    if steps < 1 or batch_size < 1:
        raise ValueError(f"steps and batch_size must be at least 1, got {steps} and {batch_size}")
    pixels, ids = _gathered(images, given)
    if test is not None:
        train, train_ids = pixels, ids
        unseen, unseen_ids = _gathered(*test)
    else:
        order = torch.randperm(len(ids), generator=generator(seed, _SPLIT))
        kept = len(ids) - round(held_out * len(ids))
        train, train_ids = pixels[order[:kept]], ids[order[:kept]]
        unseen, unseen_ids = pixels[order[kept:]], ids[order[kept:]]
    if len(train_ids) < 2 or train_ids.unique().numel() < 2:
        raise ValueError(
            f"a judge needs images of at least two labels, got {len(train_ids)} images of one label"
        )
    count = _classes(ids, unseen_ids, classes)
    shape = (int(train.shape[1]), int(train.shape[2]), int(train.shape[3]))
    kind = kind or ("conv" if min(shape[1:]) >= 16 else "mlp")
    report = {"seed": seed, "steps": steps, "batch_size": batch_size, "n_train": len(train_ids)}
    judge = Judge(kind=kind, shape=shape, classes=count, report=report)
    initialise(judge, generator(seed, _INITIAL))
    judge.to(device)
    reach = max(shape[1:]) // 16 if shift is None else shift
    _fit(judge, train, train_ids, steps=steps, batch_size=batch_size, learning_rate=learning_rate,
         noise=noise, shift=reach, seed=seed, progress=progress)  # fmt: skip
    judge.scale = math.sqrt(
        WIDTH / _batched(judge.features, train).double().var(0).sum().clamp_min(1e-12).item()
    )
    if len(unseen_ids):
        hits = _batched(judge.classify, unseen).argmax(1) == unseen_ids
        judge.report |= {"accuracy": hits.double().mean().item(), "n_test": len(unseen_ids)}
    return judge


def _gathered(images: Images, labels: Tensor) -> tuple[Tensor, Tensor]:
    ids = torch.as_tensor(labels).cpu()
    if len(images) != len(ids):
        raise ValueError(f"{len(images)} images, but {len(ids)} labels")
    pixels = torch.cat(list(iterate_images(images)))
    known = ids != -1 if ids.ndim == 1 else torch.ones(len(ids), dtype=torch.bool)
    if not known.any():
        raise ValueError("a judge needs labels, but none of the images has one")
    return pixels[known], as_ids(ids[known], "labels")


def _classes(ids: Tensor, unseen: Tensor, classes: int | None) -> int:
    largest = int(max(ids.max(), unseen.max() if len(unseen) else 0))
    if classes is not None and largest >= classes:
        raise ValueError(f"label {largest} does not fit classes={classes}")
    return largest + 1 if classes is None else classes


def _fit(
    judge: Judge,
    images: Tensor,
    ids: Tensor,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    noise: float,
    shift: int,
    seed: int,
    progress: bool,
) -> None:
    parameters = [*judge.trunk.parameters(), *judge.head.parameters()]
    device = parameters[0].device

    def loss(step: int) -> Tensor:
        random = generator(seed, _STEPS, step)
        rows = _rows(step, batch_size, len(ids), seed)
        batch = _shifted(images[rows], shift, random)
        batch = batch + noise * torch.randn(batch.shape, generator=random, dtype=batch.dtype)
        return F.cross_entropy(judge.classify(batch), ids[rows].to(device), label_smoothing=0.05)

    descend(
        loss, parameters, steps=steps, lr=learning_rate, rate=warm_cosine(steps), weight_decay=0.05,
        name="training the judge", progress=progress,
    )  # fmt: skip
    for parameter in parameters:
        parameter.requires_grad_(False)


def _rows(step: int, batch_size: int, n: int, seed: int) -> Tensor:
    # Epochs of shuffled rows, without keeping a position between steps.
    first = step * batch_size
    wanted = torch.arange(first, first + batch_size)
    rows = torch.empty_like(wanted)
    for epoch in range(first // n, (first + batch_size - 1) // n + 1):
        order = torch.randperm(n, generator=generator(seed, _ORDER, epoch))
        here = wanted // n == epoch
        rows[here] = order[wanted[here] % n]
    return rows


def _shifted(images: Tensor, shift: int, random: torch.Generator) -> Tensor:
    if shift == 0:
        return images
    down, right = torch.randint(-shift, shift + 1, (2,), generator=random).tolist()
    padded = F.pad(images, (shift,) * 4, mode="replicate")
    height, width = images.shape[-2:]
    return padded[..., shift + down : shift + down + height, shift + right : shift + right + width]


def _batched(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([function(part).cpu() for part in images.split(512)])
