"""A backbone."""

from torch import nn

from windvane.networks import ConditionInput, Network, time_embedding


class TinyConv(Network):
    """Two convolutions around a channel-wise shift by time and condition."""

    kind = "tiny_conv"

    def __init__(self, channels, *, width=16, vector=None):
        super().__init__()
        self.channels, self.width = channels, width
        self.conditions = ConditionInput(width, vector=vector)
        self.time = nn.Linear(width, width)
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    @classmethod
    def build(cls, *, shape, vector=None, width=16):
        """For data of ``shape`` (C, H, W); what `windvane train` calls, with `model.options`."""
        return cls(shape[0], width=width, vector=vector)

    @property
    def config(self):
        vector = self.conditions.vector
        return {
            "channels": self.channels,
            "width": self.width,
            "vector": None if vector is None else vector.dim,
        }

    @classmethod
    def from_config(cls, config):
        return cls(config["channels"], width=config["width"], vector=config["vector"])

    def layers(self):
        return {"first": self.first}

    def run(self, x, time, embedding):
        e = self.time(time_embedding(time, self.width).to(x.dtype))
        if embedding.vector is not None:
            e = e + embedding.vector
        return self.last(nn.functional.silu(self.first(x) + e[:, :, None, None]))
