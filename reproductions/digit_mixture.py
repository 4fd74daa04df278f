"""The exact denoiser of the digits and small classifiers of them: nothing else is trained."""

from collections.abc import Callable

import torch
from torch import Tensor

from windvane.data import digits
from windvane.exact import GaussianMixtureDenoiser
from windvane.process import EDM
from windvane.randomness import generator, scoped_seed


def digit_data() -> tuple[Tensor, Tensor]:
    """Images ``(n, 1, 8, 8)`` in [-1, 1] and their classes."""
    data = digits()
    if data.labels is None:
        raise SystemExit("the digits come with labels")
    return data.batch(torch.arange(len(data))), data.labels


def digit_mixture(components: int = 3) -> GaussianMixtureDenoiser:
    """Gaussians with full covariances for each class, on alpha = 1, sigma 20 to 0.02."""
    from sklearn.mixture import GaussianMixture

    images, labels = digit_data()
    x = images.flatten(1).double()
    weights, means, covariances = [], [], []
    for label in range(10):
        rows = x[labels == label]
        fitted = GaussianMixture(components, reg_covar=1e-2, random_state=0).fit(rows.numpy())
        weights.append(torch.tensor(fitted.weights_) * len(rows))
        means.append(torch.tensor(fitted.means_))
        covariances.append(torch.tensor(fitted.covariances_))
    return GaussianMixtureDenoiser(
        torch.cat(weights), torch.cat(means), torch.cat(covariances), EDM(sigma_max=20.0, sigma_min=0.02),
        classes=torch.arange(10).repeat_interleave(components), shape=(1, 8, 8),
    )  # fmt: skip


def classifier(seed: int, *, half: int | None = None, epochs: int = 60) -> Callable[[Tensor], Tensor]:
    """A small network x -> log p(class | x) ``(B, 10)``, trained on all digits or on one half (0 or 1)."""
    x, labels = digit_data()
    if half is not None:
        rows = torch.randperm(len(x), generator=generator(0))[half::2]
        x, labels = x[rows], labels[rows]
    with scoped_seed(seed * 2 + (half or 0)):
        network = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 64),
            torch.nn.ReLU(), torch.nn.Linear(64, 10),
        )  # fmt: skip
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    order = generator(seed, 1)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=order).split(128):
            noisy = x[rows] + 0.1 * torch.randn(x[rows].shape, generator=order)
            loss = torch.nn.functional.cross_entropy(network(noisy), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def log_probabilities(images: Tensor) -> Tensor:
        with torch.no_grad():
            return network(images).log_softmax(dim=1)

    return log_probabilities
