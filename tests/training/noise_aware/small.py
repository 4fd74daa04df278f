"""Small encoders and data whose noise hides them."""

import torch
from torch import nn

from windvane.process import VPCosine

PROCESS = VPCosine()


def seeded(make, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def filled(module, seed=1):
    """Running statistics and affine parameters as after a training: not 0 and 1."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.copy_(normal(part.num_features, seed=seed))
            part.running_var.copy_(normal(part.num_features, seed=seed + 1).square() + 0.3)
        for name in ("weight", "bias"):
            value = getattr(part, name, None)
            if isinstance(value, nn.Parameter) and value.ndim == 1:
                value.data.copy_(1 + 0.3 * normal(len(value), seed=seed + 2))
    return module.eval()


class Convolutional(nn.Module):
    """Batch and group normalisation on maps, layer normalisation on the pooled features."""

    def __init__(self, classes=4):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=2, bias=False)
        self.gn = nn.GroupNorm(3, 12)
        self.ln = nn.LayerNorm(12)
        self.head = nn.Linear(12, classes)

    def forward(self, x):
        h = torch.relu(self.bn(self.stem(x)))
        h = torch.relu(self.gn(self.conv1(h))).mean((2, 3))
        return self.head(self.ln(h))


class Attending(nn.Module):
    """A transformer of torch's own, with its fast path, on the rows of an image."""

    def __init__(self, classes=4):
        super().__init__()
        self.inward = nn.Linear(6, 16)
        layer = nn.TransformerEncoderLayer(16, 2, dim_feedforward=24, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, classes)

    def forward(self, x):
        return self.head(self.body(self.inward(x[:, 0])).mean(1))


class Normed(nn.Module):
    """An MLP on vectors with batch normalisation in it."""

    def __init__(self, dim=6, classes=4, width=32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(dim, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width),
            nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, classes),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


ENCODERS = {
    "convolutional": (Convolutional, (1, 6, 6)),
    "attending": (Attending, (1, 6, 6)),
    "normed": (Normed, (6,)),
}


def encoder(name, seed=0):
    make, shape = ENCODERS[name]
    return filled(seeded(make, seed)), shape


def clusters(n=400, dim=6, classes=4, seed=0):
    """Rows round ``classes`` corners, with their labels."""
    corners = torch.eye(dim)[:classes] * 2 - 0.5
    labels = torch.arange(n) % classes
    return corners[labels] + 0.15 * normal(n, dim, seed=seed), labels
