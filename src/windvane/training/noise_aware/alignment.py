"""SDG's self-supervised alignment: a noisy student learns to see what a clean teacher sees. No labels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from windvane.process import Process
from windvane.training.batches import Batch, TrainingData
from windvane.training.noise_aware.fitting import Fit, evaluating
from windvane.training.times import TimeSampler


def info_nce(student: Tensor, teacher: Tensor, temperature: float = 0.01) -> Tensor:
    """The symmetric contrastive loss of each row, ``(B,)``, of embeddings ``(B, D)``.

    With u, v the rows at unit length and Z = u v^T / temperature,

        l_i = -log softmax_j(Z_ij)[i] - log softmax_j(Z_ji)[i]:

    each noisy row finds its clean one in the batch, and the other way round (SDG, arXiv 2112.05744,
    section 3.3, after CLIP; the sum of both directions, as in the released code).

    Raises:
        ValueError: shapes that differ; a temperature that is not positive.
    """
    if student.shape != teacher.shape or student.ndim != 2:
        raise ValueError(
            "student and teacher must give embeddings of one shape (B, D), got "
            f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    if not temperature > 0:
        raise ValueError(f"a temperature must be positive, got {temperature}")
    z = F.normalize(student, dim=1) @ F.normalize(teacher, dim=1).T / temperature
    own = torch.arange(len(z), device=z.device)
    return F.cross_entropy(z, own, reduction="none") + F.cross_entropy(z.T, own, reduction="none")


def align(
    student: nn.Module,
    teacher: nn.Module,
    data: TrainingData | Tensor,
    process: Process,
    *,
    steps: int,
    batch_size: int = 128,
    lr: float = 1e-4,
    weight_decay: float = 0.0,
    temperature: float = 0.01,
    times: TimeSampler | None = None,
    flip: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> list[float]:
    """Train ``student`` in place so that student(x_t, t) is like teacher(x0); returns the losses.

    Minimises the mean over x0, t, noise of :func:`info_nce` between the two (SDG, arXiv 2112.05744,
    section 3.3). The teacher is frozen, so texts and references embedded by it keep their meaning for the
    student. Ends with the student in evaluation mode, ready to guide.

    Differs from the released code in the batch, 32 a device there; at 0.01 the loss compares all rows of it.

    Args:
        student: ``(x_t, t) -> (B, D)``, a :func:`noise_aware` copy of the teacher.
        teacher: ``x0 -> (B, D)``, the clean encoder; it gets the student's ``preprocess`` if that has one.
        data: clean samples, ``(n, *)`` or with ``len`` and ``batch(indices)``; no labels.
        times, seed and the others: see :class:`~windvane.training.noise_aware.Fit`.

    Raises:
        ValueError: embeddings of different shapes, settings that cannot work.
        FloatingPointError: a loss that is not finite.
    """
    if batch_size < 2:
        raise ValueError(f"a contrastive loss needs at least 2 rows a batch, got batch_size={batch_size}")
    fit = Fit(
        steps=steps, batch_size=batch_size, lr=lr, weight_decay=weight_decay, times=times, flip=flip,
        seed=seed, progress=progress,
    )  # fmt: skip
    preprocess = getattr(student, "preprocess", None)

    def loss(batch: Batch, x_t: Tensor) -> Tensor:
        clean = batch.x0 if preprocess is None else preprocess(batch.x0)
        with evaluating(teacher):
            seen = teacher(clean)
        return info_nce(student(x_t, batch.t), seen, temperature)

    return fit.run(student, process, fit.batches(data, process), loss, name="aligning the encoder")
