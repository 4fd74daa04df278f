"""A corruption."""

from dataclasses import dataclass

import torch

from windvane.process import Process
from windvane.randomness import noise_for
from windvane.training import Corrupted, Noised


@dataclass(frozen=True)
class Holes:
    """Noise as usual, and a share of the numbers set to 0 besides, drawn by the key of each row."""

    process: Process
    share: float = 0.2

    def __call__(self, batch, keys):
        noised = Noised(self.process)(batch, keys)
        level = torch.erfinv(torch.tensor(2 * self.share - 1)) * 2**0.5  # so many normal numbers lie below it
        gone = noise_for(keys.tolist(), 0, batch.x0.shape[1:]).to(batch.x0) < level
        return Corrupted(torch.where(gone, 0, noised.x_t), noised.t, noised.targets, cond=noised.cond)
