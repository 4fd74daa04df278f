"""Pieces of other images pasted into images: the corruption that dense features learn to see through."""

import torch
from torch import Tensor


def paste(
    images: Tensor, generator: torch.Generator, *, pieces: int, sizes: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Images with ``pieces`` rectangles each, cut from other images of the batch at other places.

    Args:
        images: ``(B, C, H, W)``.
        generator: on the CPU; all numbers come from it.
        pieces: rectangles per image, one after the other, so that later ones may cover earlier ones.
        sizes: least and largest side in pixels, both included.

    Returns:
        The corrupted images, and where they were pasted over: bool ``(B, 1, H, W)``.

    Raises:
        ValueError: sides that do not fit into the image.
    """
    rows, _, height, width = images.shape
    low, high = sizes
    if not 1 <= low <= high <= min(height, width) or pieces < 0:
        raise ValueError(
            f"pieces need 1 <= least <= largest side <= {min(height, width)} and a count >= 0, "
            f"got sides {low}..{high}, {pieces} pieces"
        )
    covered = torch.zeros(rows, 1, height, width, dtype=torch.bool, device=images.device)
    line, column = torch.arange(height), torch.arange(width)
    out = images
    for _ in range(pieces):
        # Another image each: a cyclic shift by 1..B-1 has no fixed point.
        shift = int(torch.randint(1, max(rows, 2), (), generator=generator))
        source = (torch.arange(rows) + shift) % rows
        tall, wide = (torch.randint(low, high + 1, (rows, 1), generator=generator) for _ in range(2))
        top = (torch.rand(rows, 1, generator=generator) * (height - tall + 1)).long()
        left = (torch.rand(rows, 1, generator=generator) * (width - wide + 1)).long()
        inside = ((line >= top) & (line < top + tall))[:, :, None]
        inside = (inside & ((column >= left) & (column < left + wide))[:, None, :])[:, None]
        lines = (line + torch.randint(height, (rows, 1), generator=generator)) % height
        columns = (column + torch.randint(width, (rows, 1), generator=generator)) % width
        moved = images[source[:, None, None], :, lines[:, :, None], columns[:, None, :]].movedim(-1, 1)
        inside = inside.to(images.device)
        out = torch.where(inside, moved, out)
        covered = covered | inside
    return out, covered
