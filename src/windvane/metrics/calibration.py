"""Calibration of a classifier, also along a diffusion trajectory: may it guide, before any sampling?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from windvane.randomness import generator


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 10) -> float:
    """sum_m |B_m| / n |accuracy(B_m) - confidence(B_m)| over equal bins of the confidence max_k p_k.

    The expected calibration error of Guo et al. 2017, as EluCD uses it (Ma et al. 2024, arXiv 2310.11311,
    section 3.1). 0 is calibrated.

    Args:
        probabilities: ``(n, K)``, rows that sum to 1; labels: ``(n,)``.

    Raises:
        ValueError: shapes that do not fit; rows that are no probabilities.
    """
    if probabilities.ndim != 2 or labels.shape != (len(probabilities),) or not len(labels):
        raise ValueError(
            f"calibration needs probabilities (n, K) and n labels, got {tuple(probabilities.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if bins < 1:
        raise ValueError(f"calibration needs at least one bin, got {bins}")
    p = probabilities.double()
    if bool((p < 0).any()) or float((p.sum(1) - 1).abs().max()) > 1e-4:
        raise ValueError("calibration needs probabilities, rows of which sum to 1; apply softmax to logits")
    confidence, guess = p.max(dim=1)
    right = (guess == labels.to(guess)).double()
    number = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=torch.float64, device=p.device).index_add(0, number, right - confidence)
    return float(gap.abs().sum()) / len(p)


@dataclass(frozen=True)
class Calibration:
    """Calibration error and accuracy at each of ``times``; ``error`` and ``accuracy`` are their means."""

    times: tuple[float, ...]
    errors: tuple[float, ...]
    accuracies: tuple[float, ...]

    @property
    def error(self) -> float:
        """EluCD's integral calibration error."""
        return sum(self.errors) / len(self.errors)

    @property
    def accuracy(self) -> float:
        return sum(self.accuracies) / len(self.accuracies)


def trajectory_calibration(
    classifier: Callable[..., Tensor],
    denoiser: Any,
    images: Tensor,
    labels: Tensor,
    *,
    times: int | Tensor = 10,
    input: str = "x0",
    timed: bool = False,
    bins: int = 10,
    seed: int = 0,
    batch_size: int = 1000,
) -> Calibration:
    """How well a classifier is calibrated on what it would see while guiding.

    Held-out ``images`` are noised to each time; the classifier sees D(x_t) (``input="x0"``) or x_t itself.
    Good calibration there implies usable gradients (EluCD, arXiv 2310.11311, section 3.1), so compare
    classifiers, smoothed activations and inputs by it before any sampling.

    Args:
        classifier: ``(B, *) -> (B, K)`` logits; with ``timed`` it is also given t.
        denoiser: ``(x_t, t) -> D`` with a process; unconditional use.
        images: ``(n, *)``; labels: ``(n,)``.
        times: that many equally spaced ones, or a tensor of them.
        bins: of the confidence; the paper does not give its number.

    Raises:
        ValueError: an unknown input; images and labels of different numbers.
    """
    if input not in ("x0", "x_t"):
        raise ValueError(f"the classifier's input is 'x0' or 'x_t', got {input!r}")
    if len(images) != len(labels) or not len(images):
        raise ValueError(f"calibration needs as many labels as images, got {len(images)} and {len(labels)}")
    process = denoiser.process
    if isinstance(times, int):
        if times < 1:
            raise ValueError(f"calibration needs at least one time, got {times}")
        grid = (torch.arange(times, dtype=torch.float64) + 0.5) / times * process.t_max
    else:
        grid = times.double().flatten()
    noise = process.law.scaled(
        torch.randn((len(images), images[0].numel()), generator=generator(seed)), seed
    ).reshape(images.shape)
    errors, accuracies = [], []
    with torch.no_grad():
        for t in grid:
            parts = []
            for clean, drawn in zip(images.split(batch_size), noise.split(batch_size)):
                x_t = process.perturb(clean, t, drawn.to(clean))
                seen = denoiser(x_t, t.expand(len(x_t))) if input == "x0" else x_t
                logits = classifier(seen, t.expand(len(x_t))) if timed else classifier(seen)
                parts.append(logits.double().softmax(1).cpu())
            p = torch.cat(parts)
            errors.append(calibration_error(p, labels.cpu(), bins))
            accuracies.append(float((p.argmax(1) == labels.cpu()).double().mean()))
    return Calibration(tuple(grid.tolist()), tuple(errors), tuple(accuracies))
