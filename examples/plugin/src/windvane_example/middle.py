"""Boxes of images."""

import torch

from windvane.annotate.regions import RegionRule


class Middle(RegionRule):
    """A box of ``share`` of each side about the centre of gravity of the features' lengths."""

    kind, task = "middle", "boxes"

    def __init__(self, extractor, *, share=0.5):
        self.extractor, self.share = extractor, share

    def options(self):
        return {"share": self.share}

    def feature(self, shape):
        return (4,)

    def __call__(self, images):
        lengths = self.extractor(images).norm(dim=1).cpu()
        weights = lengths / lengths.sum(dim=(1, 2), keepdim=True).clamp(min=1e-9)
        edges = []
        for axis, size in ((2, images.shape[-1]), (1, images.shape[-2])):
            places = (torch.arange(weights.shape[axis]) + 0.5) / weights.shape[axis] * size
            middle = (weights.sum(dim=3 - axis) * places).sum(dim=1)
            side = max(1, round(self.share * size))
            edges.append((middle - side / 2).round().long().clamp(0, size - side))
            edges.append(edges[-1] + side)
        return torch.stack([edges[0], edges[2], edges[1], edges[3]], dim=1)
