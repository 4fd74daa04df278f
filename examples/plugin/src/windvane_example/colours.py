"""Features of images."""

import torch

from windvane.annotate.features.extractor import version


class Colours:
    """The histogram of every channel over ``bins`` equal parts of [-1, 1], as shares of its pixels."""

    kind = "colours"

    def __init__(self, *, bins=8):
        self.bins, self._channels = int(bins), None

    @property
    def recipe(self):
        return version(self.kind, {"bins": self.bins})

    name = recipe

    @property
    def fitted(self):
        return self._channels is not None

    @property
    def dim(self):
        return self.bins * self._channels

    def fit(self, data, *, progress=True, device="cpu"):
        self._channels = data.shape[0]
        return self

    def __call__(self, images):
        number = ((images + 1) / 2 * self.bins).long().clamp(0, self.bins - 1).flatten(2)
        return torch.nn.functional.one_hot(number, self.bins).float().mean(2).flatten(1)

    def settings(self):
        return {"bins": self.bins, "channels": self._channels}

    def state(self):
        return {}

    @classmethod
    def restore(cls, settings, state):
        made = cls(bins=settings["bins"])
        made._channels = settings["channels"]
        return made
