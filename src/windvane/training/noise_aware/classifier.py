"""Classifiers that know noise: cross-entropy on x_t, for guidance at x_t."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from windvane.process import Process
from windvane.training.batches import Batch, TrainingData
from windvane.training.noise_aware.fitting import Fit, labels_of
from windvane.training.times import TimeSampler


def train_classifier(
    classifier: nn.Module,
    data: TrainingData | Tensor,
    labels: Tensor | None = None,
    *,
    process: Process,
    steps: int,
    batch_size: int = 256,
    lr: float = 3e-4,
    weight_decay: float = 0.05,
    decay: str = "linear",
    times: TimeSampler | None = None,
    flip: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> list[float]:
    """Train ``classifier`` in place on noisy samples; returns the losses.

    Minimises the mean over (x0, y), t, noise of -log softmax f(x_t, t)[y], without label smoothing: ADM's
    noise-aware classifier (Dhariwal and Nichol 2021, arXiv 2105.05233, section 4.3 and appendix C; AdamW,
    batch 256, 3e-4 falling linearly to 0, decay 0.05). Use it with ``ClassLogProb(classifier, y,
    timed=True)`` and ``presets.adm``. Ends in evaluation mode.

    Args:
        classifier: ``(x_t, t) -> (B, K)`` logits: :func:`noise_aware` round any classifier, pretrained on
            clean data or fresh, or a network of your own.
        data: clean samples; labels: ``(n,)`` classes, by default ``data.labels``.
        times: drawn uniformly, as in the paper, or the process's default (log-normal for EDM).
        seed and the others: see :class:`~windvane.training.noise_aware.Fit`.

    Raises:
        ValueError: labels missing, of another number, or outside the classifier's classes.
        FloatingPointError: a loss that is not finite.
    """
    given = labels if labels is not None else getattr(data, "labels", None)
    if given is None:
        raise ValueError("a classifier needs labels: give them, or data that carry labels")
    classes = torch.as_tensor(given).cpu()
    if classes.is_floating_point() or classes.ndim != 1 or len(classes) != len(data):
        raise ValueError(
            f"{len(data)} samples need as many integer labels, got {classes.dtype} {tuple(classes.shape)}"
        )
    if int(classes.min()) < 0:
        raise ValueError(
            f"labels are classes from 0, got {int(classes.min())}; leave out samples without a label"
        )
    fit = Fit(
        steps=steps, batch_size=batch_size, lr=lr, weight_decay=weight_decay, decay=decay, times=times,
        flip=flip, seed=seed, progress=progress,
    )  # fmt: skip
    most = int(classes.max())

    def loss(batch: Batch, x_t: Tensor) -> Tensor:
        logits = classifier(x_t, batch.t)
        if logits.ndim != 2 or len(logits) != len(x_t) or logits.shape[1] <= most:
            raise ValueError(
                f"the classifier must give logits ({len(x_t)}, K) with K > {most}, the largest label; "
                f"got {tuple(logits.shape)}"
            )
        return F.cross_entropy(logits, labels_of(batch), reduction="none")

    batches = fit.batches(data, process, classes.long())
    return fit.run(classifier, process, batches, loss, name="training the classifier")
