"""Blur as a circular convolution, diagonal in Fourier space."""

import math

import torch
from torch import Tensor

from windvane.operators.base import Operator, require_images


class Blur(Operator):
    """Each channel convolved with ``kernel``, on an image that goes on at the opposite edge.

    y = F^-1 (k F x) with k the kernel's transfer function, so A^T = F^-1 (conj(k) F .) and
    A^+ = F^-1 (1/k F .), with 1/k taken as 0 where |k| <= ``rtol`` max |k|.

    Args:
        kernel: ``(h, w)``, its middle (h // 2, w // 2) being the pixel itself.
        rtol: frequencies weaker than this are beyond recovery, and their noise would be amplified 1/rtol
            times. A A^+ A = A holds to that relative accuracy.
    """

    def __init__(self, kernel: Tensor, *, rtol: float = 1e-3) -> None:
        if kernel.ndim != 2 or not bool(torch.isfinite(kernel).all()) or not bool(kernel.any()):
            raise ValueError(
                f"a blur needs a finite kernel (h, w) that is not zero, got shape {tuple(kernel.shape)}"
            )
        if not 0 <= rtol < 1:
            raise ValueError(f"rtol must lie in [0, 1), got {rtol}")
        self.kernel = kernel.detach().to("cpu", torch.float64)
        self.rtol = rtol
        self._transfers: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def _transfer(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """k and its pseudo-inverse, complex128 ``(H, W // 2 + 1)``, made once per image size."""
        if (height, width) not in self._transfers:
            h, w = self.kernel.shape
            if h > height or w > width:
                raise ValueError(f"a kernel of {h} x {w} does not fit an image of {height} x {width}")
            padded = torch.zeros(height, width, dtype=torch.float64)
            padded[:h, :w] = self.kernel
            k = torch.fft.rfft2(padded.roll((-(h // 2), -(w // 2)), (0, 1)))
            strong = k.abs() > self.rtol * k.abs().max()
            inverse = torch.where(strong, 1 / torch.where(strong, k, torch.ones_like(k)), 0)
            self._transfers[height, width] = k, inverse
        return self._transfers[height, width]

    def _filtered(self, x: Tensor, *, inverse: bool = False, conjugate: bool = False) -> Tensor:
        require_images(x, type(self).__name__)
        factor = self._transfer(x.shape[-2], x.shape[-1])[int(inverse)]
        factor = factor.conj() if conjugate else factor
        # Half precisions have no Fourier transform.
        exact = x if x.dtype == torch.float64 else x.float()
        kind = torch.complex128 if exact.dtype == torch.float64 else torch.complex64
        spectrum = torch.fft.rfft2(exact) * factor.to(device=x.device, dtype=kind)
        return torch.fft.irfft2(spectrum, s=x.shape[-2:]).to(x.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return self._filtered(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._filtered(y, conjugate=True)

    def pinv(self, y: Tensor) -> Tensor:
        return self._filtered(y, inverse=True)


class GaussianBlur(Blur):
    """Blur with a Gaussian of standard deviation ``std`` pixels, cut at 3 ``std``, of sum 1."""

    def __init__(self, std: float, *, rtol: float = 1e-3) -> None:
        if not std > 0:
            raise ValueError(f"the standard deviation of a blur must be positive, got {std}")
        reach = max(1, math.ceil(3 * std))
        line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / std) ** 2)
        kernel = line[:, None] * line
        super().__init__(kernel / kernel.sum(), rtol=rtol)


class MotionBlur(Blur):
    """Blur along a line of ``length`` pixels at ``angle`` degrees from the horizontal, of sum 1."""

    def __init__(self, length: float, angle: float = 0.0, *, rtol: float = 1e-3) -> None:
        if not length >= 1:
            raise ValueError(f"the length of a motion blur is at least one pixel, got {length}")
        reach = math.ceil(length / 2)
        # Points along the path, each shared among the four pixels round it.
        path = torch.linspace(-0.5, 0.5, max(2, 16 * reach + 1), dtype=torch.float64) * (length - 1)
        rows = reach - path * math.sin(math.radians(angle))
        columns = reach + path * math.cos(math.radians(angle))
        kernel = torch.zeros(2 * reach + 2, 2 * reach + 2, dtype=torch.float64)
        top, left = rows.floor(), columns.floor()
        for down in (0, 1):
            for right in (0, 1):
                share = (1 - (rows - top - down).abs()) * (1 - (columns - left - right).abs())
                index = ((top + down).long(), (left + right).long())
                kernel.index_put_(index, share, accumulate=True)
        kernel = kernel[: 2 * reach + 1, : 2 * reach + 1]
        super().__init__(kernel / kernel.sum(), rtol=rtol)
