"""How rough pictures are, beside any other features: what learnt features may not see in noise."""

import torch
from torch import Tensor

from windvane.metrics.features import Extractor, Images, checked_features, extract_features, extractor_name

_SCALES = 3
_MOST = 1000
_LEAST = 1e-4


def texture(images: Tensor) -> Tensor:
    """log(c + mean |gradient|) of each channel at up to three scales, and log(c + std): ``(B, F)``.

    Gradients are differences of neighbouring pixels, horizontal and vertical, of the pictures (B, C, H, W)
    and of their means over blocks of 2 x 2 and 4 x 4; c = 1e-4.
    """
    found = [images.flatten(2).std(-1, unbiased=False)]
    part = images
    for _ in range(_SCALES):
        if min(part.shape[-2:]) < 2:
            break
        across, down = part.diff(dim=-1).abs().flatten(2), part.diff(dim=-2).abs().flatten(2)
        found.append((across.mean(-1) + down.mean(-1)) / 2)
        part = torch.nn.functional.avg_pool2d(part, 2) if min(part.shape[-2:]) >= 4 else part[..., :1, :1]
    return torch.cat([(value + _LEAST).log() for value in found], dim=1)


class WithTexture:
    """Features of an extractor, with :func:`texture` beside them.

    Each of the texture's numbers is scaled to twice the mean spread of the extractor's own over ``data``, so
    that real pictures, which differ little in it, keep their distances, and noise is far from all of them.

    Args:
        extractor: any; its features come first, unchanged.
        data: real pictures, of which at most 1,000 are looked at.
    """

    def __init__(self, extractor: Extractor, data: Images) -> None:
        self.extractor = extractor
        self.name = f"{extractor_name(extractor)}+texture"
        self.resize = getattr(extractor, "resize", None)
        rows = torch.linspace(0, len(data) - 1, min(len(data), _MOST)).long()
        pictures = (data[rows] if isinstance(data, Tensor) else data.batch(rows)).detach().cpu().float()
        spread = extract_features(pictures, extractor).std(0).mean()
        rough = texture(pictures.clamp(-1, 1))
        self._mean = rough.mean(0)
        self._scale = 2 * spread / rough.std(0).clamp(min=1e-3)

    def __call__(self, images: Tensor) -> Tensor:
        own = checked_features(self.extractor(images), len(images), self.name)
        rough = (texture(images) - self._mean.to(images)) * self._scale.to(images)
        return torch.cat([own, rough.to(own)], dim=1)
