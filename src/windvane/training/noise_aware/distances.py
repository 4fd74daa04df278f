"""How far a noisy student's answer is from a clean teacher's, per sample."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

#: ``(teacher, student) -> (B,)``.
Distance = Callable[[Tensor, Tensor], Tensor]


def sharpened_kl(temperature: float = 0.25) -> Distance:
    """KL(softmax(teacher / T) || softmax(student)) over dimension 1, averaged over positions if any.

    PPAP's loss for classifiers, T = 0.25, and per pixel for segmentation (arXiv 2212.05973, section 4.2):
    only the teacher is sharpened, as in the released code.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature must be positive, got {temperature}")

    def distance(teacher: Tensor, student: Tensor) -> Tensor:
        wanted = F.log_softmax(teacher / temperature, dim=1)
        kl = (wanted.exp() * (wanted - F.log_softmax(student, dim=1))).sum(1)
        return kl if kl.ndim == 1 else kl.flatten(1).mean(1)

    return distance


def squared_error(teacher: Tensor, student: Tensor) -> Tensor:
    """The mean squared difference, for depth maps, embeddings and other numbers (PPAP, section 4.2)."""
    return (teacher - student).square().flatten(1).mean(1)
