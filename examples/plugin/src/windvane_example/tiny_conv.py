"""A backbone."""

from torch import nn

from windvane.networks import ConditionInput, Network, time_embedding


class TinyConv(Network):
    """Two convolutions around a channel-wise shift by time and condition."""

    kind = "tiny_conv"

    def __init__(self, channels, *, width=16, vector=None, signals=None):
        super().__init__()
        self.channels, self.width = channels, width
        self.conditions = ConditionInput(width, signals, vector=vector, entries=("add",))
        self.time = nn.Linear(width, width)
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    @classmethod
    def build(cls, *, shape, vector=None, width=16, signals=None):
        """For data of ``shape`` (C, H, W); what `windvane train` calls, with `model.options`."""
        return cls(shape[0], width=width, vector=vector, signals=signals)

    @property
    def config(self):
        return {"channels": self.channels, "width": self.width, **self.conditions.config("vector")}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def layers(self):
        return {"first": self.first}

    def run(self, x, time, embedding):
        e = self.time(time_embedding(time, self.width).to(x.dtype))
        if embedding.add is not None:
            e = e + embedding.add
        return self.last(nn.functional.silu(self.first(x) + e[:, :, None, None]))
