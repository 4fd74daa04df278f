"""The exact denoiser of the bars: a Gaussian mixture fitted to the 8x8 digits, class by class."""

import functools

import torch

from windvane.data import digits
from windvane.exact import GaussianMixtureDenoiser
from windvane.process import EDM


@functools.cache
def digit_mixture(components=3):
    """Three Gaussians with full covariances for each class, on alpha = 1, sigma 20 to 0.02."""
    from sklearn.mixture import GaussianMixture

    data = digits()
    x, labels = data.batch(torch.arange(len(data))).flatten(1).double(), data.labels
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
