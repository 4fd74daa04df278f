"""Small image sets and extractors that count what is asked of them."""

import torch
from sklearn.datasets import load_digits

from windvane.annotate.features.extractor import content_hash


class TensorImages:
    """The least that annotation asks of a data set."""

    def __init__(self, images, labels=None):
        self.images, self.labels = images, labels
        self.shape = tuple(images.shape[1:])
        self.fingerprint = content_hash({"images": images})
        self.batches = 0

    def __len__(self):
        return len(self.images)

    def batch(self, indices):
        self.batches += 1
        return self.images[indices]


class Projection:
    """A fixed linear map of the pixels; counts the images it has seen."""

    def __init__(self, dim=6, pixels=64, seed=0):
        self.weight = torch.randn(pixels, dim, generator=torch.Generator().manual_seed(seed))
        self.dim, self.seen = dim, 0
        self.name = f"projection#{content_hash({'w': self.weight})[:8]}"

    def __call__(self, images):
        self.seen += len(images)
        return images.flatten(1) @ self.weight


def digit_images(n=None):
    digits = load_digits()
    images = torch.tensor(digits.images[:n], dtype=torch.float32)[:, None] / 8 - 1
    return TensorImages(images, torch.tensor(digits.target[:n]))


def noise_images(n, shape=(1, 8, 8), seed=0):
    return TensorImages(torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1))
