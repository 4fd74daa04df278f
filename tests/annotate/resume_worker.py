"""Annotates 20,000 generated images and notes every call of the extractor in a file, for a test to count.

python -m tests.annotate.resume_worker OUT CACHE LOG [PAUSE]: PAUSE is a wait in seconds after each call.
"""

import os
import sys

import numpy as np

from tests.annotate.counted_calls import note_calls
from windvane.annotate import Group, SelfSup, annotate
from windvane.data import ImageData

N, BATCH = 20_000, 256


def images():
    """Crosses of five kinds under noise."""
    numbers = np.random.default_rng(0)
    store = numbers.integers(0, 120, (N, 1, 8, 8), dtype=np.uint8)
    kind = numbers.integers(0, 5, N)
    store[np.arange(N), 0, kind] += 120
    store[np.arange(N), 0, :, kind] += 15
    return ImageData(store)


def main(out, cache, log, pause="0"):
    note_calls(SelfSup, log, pause)
    group = None
    if "WORLD_SIZE" in os.environ:
        import torch.distributed as dist

        dist.init_process_group("gloo")
        group = Group.launched()
    encoder = SelfSup(steps=3, batch=32, width=8, dim=8)
    made = annotate(
        images(),
        features=encoder,
        k=5,
        restarts=1,
        cache=cache,
        batch_size=BATCH,
        group=group,
        progress=False,
    )
    if group is None or group.rank == 0:
        made.save(out)
    if group is not None:
        group.wait()
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
