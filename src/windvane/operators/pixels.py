"""Operators that act on pixels one by one or in blocks: inpainting, averaging, grey-scale."""

from collections.abc import Sequence

import torch
from torch import Tensor

from windvane.operators.base import Operator, require_images


class Inpainting(Operator):
    """y = m x: known values are kept, unknown ones are 0. A^T = A^+ = A.

    Args:
        mask: true or 1 where the value is *known*; any shape that broadcasts to one row of data, such as
            ``(H, W)`` or ``(C, H, W)``.
    """

    def __init__(self, mask: Tensor) -> None:
        values = mask.to(torch.float64)
        if not bool(((values == 0) | (values == 1)).all()):
            raise ValueError("a mask holds 0 (unknown) and 1 (known) only; it holds other values")
        if not bool(values.any()):
            raise ValueError("the mask knows no value at all; it must be 1 where a value is known")
        self.mask = mask.bool()

    def __call__(self, x: Tensor) -> Tensor:
        try:
            shape = torch.broadcast_shapes(self.mask.shape, x.shape[1:])
        except RuntimeError:
            shape = None
        if shape != x.shape[1:]:
            raise ValueError(f"a mask of shape {tuple(self.mask.shape)} does not fit data {tuple(x.shape)}")
        return x * self.mask.to(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self(y)

    def pinv(self, y: Tensor) -> Tensor:
        return self(y)


class BlockMean(Operator):
    """Super-resolution's measurement: the mean of each ``factor`` x ``factor`` block of pixels.

    A^T spreads a value evenly over its block, A^+ = factor^2 A^T repeats it: A A^+ = 1 exactly.
    """

    def __init__(self, factor: int) -> None:
        if factor < 1:
            raise ValueError(f"the factor of a block mean must be at least 1, got {factor}")
        self.factor = int(factor)

    def __call__(self, x: Tensor) -> Tensor:
        require_images(x, "BlockMean")
        if x.shape[-1] % self.factor or x.shape[-2] % self.factor:
            size = f"{x.shape[-2]} x {x.shape[-1]}"
            raise ValueError(f"images of {size} pixels do not divide into blocks of {self.factor}")
        return torch.nn.functional.avg_pool2d(x, self.factor)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.pinv(y) / self.factor**2

    def pinv(self, y: Tensor) -> Tensor:
        require_images(y, "BlockMean")
        return y.repeat_interleave(self.factor, dim=-1).repeat_interleave(self.factor, dim=-2)


class Greyscale(Operator):
    """y = sum_c w_c x_c, ``(B, 1, H, W)``: grey-scale, for colourisation.

    Args:
        weights: of the channels; by default those of ITU-R BT.601 luma.
        keep_chroma: the inverse adds the missing grey evenly to all channels, which keeps the chroma of
            YCbCr as it is (Steered Diffusion's colourisation), and is then not the shortest solution;
            A A^+ A = A holds either way. By default it is the pseudo-inverse, w y / ||w||^2.
    """

    def __init__(
        self, weights: Sequence[float] = (0.299, 0.587, 0.114), *, keep_chroma: bool = False
    ) -> None:
        values = torch.tensor(tuple(weights), dtype=torch.float64)
        if values.ndim != 1 or not bool(values.any()) or (keep_chroma and float(values.sum()) == 0):
            raise ValueError(f"grey needs one weight per channel, not all zero, got {tuple(weights)}")
        self.weights = values.reshape(-1, 1, 1)
        even = torch.ones_like(self.weights) / values.sum()
        self.lift = even if keep_chroma else self.weights / (values**2).sum()

    def __call__(self, x: Tensor) -> Tensor:
        require_images(x, "Greyscale")
        if x.shape[1] != len(self.weights):
            raise ValueError(f"Greyscale has {len(self.weights)} weights for {x.shape[1]} channels")
        return (x * self.weights.to(x)).sum(1, keepdim=True)

    def adjoint(self, y: Tensor) -> Tensor:
        return y * self.weights.to(y)

    def pinv(self, y: Tensor) -> Tensor:
        return y * self.lift.to(y)
