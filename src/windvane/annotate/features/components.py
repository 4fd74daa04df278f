"""Leading eigenvectors of a covariance: from the rows themselves, or from their summed products."""

import torch
from torch import Tensor

_DENSE = 512  # up to this size a full decomposition costs less than an iteration


def leading_of_rows(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest eigenvalues of ``A^T A``, descending, and their eigenvectors (P, count); float64.

    The eigenvectors u of the smaller of ``A A^T`` and ``A^T A`` (float32, one product) span the space; within
    it the eigenvectors are determined anew in float64 (Rayleigh and Ritz), whose error is the square of that
    of the space.

    Args:
        rows: A, centred rows (n, P), float32.
    """
    n, pixels = rows.shape
    _, space = leading(_own_products(rows if n < pixels else rows.T).cpu(), count)
    space = space.to(rows)
    # One more multiplication by A^T A, which also takes the side of the images to that of the pixels.
    space = rows.T @ (space if n < pixels else rows @ space)
    basis = torch.linalg.qr(space.double()).Q
    images = (rows @ basis.to(rows)).double()
    values, turn = torch.linalg.eigh((images.T @ images).cpu())
    return values.flip(0), basis.cpu() @ turn.flip(1)


def leading(matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest eigenvalues of a symmetric matrix, descending, and their eigenvectors."""
    if len(matrix) > _DENSE and count < len(matrix) // 4:
        import numpy as np
        from scipy.sparse.linalg import ArpackError, eigsh

        # A fixed starting vector makes the iteration repeatable; a full decomposition is cubic in the pixels.
        start = np.random.default_rng(0).standard_normal(len(matrix)).astype(matrix.numpy().dtype)
        try:
            found = eigsh(matrix.numpy(), k=count, which="LA", v0=start)
        except ArpackError:  # nothing to iterate on (equal images), or no convergence
            return _dense(matrix, count)
        values, vectors = torch.from_numpy(found[0].copy()), torch.from_numpy(found[1].copy())
        order = values.argsort(descending=True)
        return values[order], vectors[:, order]
    return _dense(matrix, count)


def _dense(matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(matrix)
    order = values.argsort(descending=True)[:count]
    return values[order], vectors[:, order]


def _own_products(rows: Tensor) -> Tensor:
    """``A A^T``, of which only one half is multiplied where the processor's library offers it."""
    if rows.device.type != "cpu":
        return rows @ rows.T
    from scipy.linalg.blas import ssyrk

    # The routine counts columns first: the transpose of rows in memory is what it reads without a copy.
    straight = rows.is_contiguous()
    upper = torch.from_numpy(ssyrk(1.0, (rows.T if straight else rows).numpy(), trans=int(straight)))
    upper = upper.triu()
    return upper + upper.triu(1).T
