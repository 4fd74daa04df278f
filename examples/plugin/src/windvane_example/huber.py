"""An objective."""

import torch


class Huber:
    """sqrt(|D(x_t, t, cond) - x0|^2 / n + delta^2) - delta: pseudo-Huber, alike at all times."""

    def __init__(self, delta: float = 0.03):
        self.delta = delta

    def __repr__(self):
        return f"Huber(delta={self.delta})"

    def __call__(self, model, batch, keys):
        x_t = model.process.perturb(batch.x0, batch.t, batch.noise)
        error = (model(x_t, batch.t, batch.cond) - batch.x0).float().square().flatten(1).mean(1)
        return torch.sqrt(error + self.delta**2) - self.delta
