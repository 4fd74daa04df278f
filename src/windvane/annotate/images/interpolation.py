"""Between two conditions: spherical interpolation, and the samples along the way."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from windvane.conditions import Condition

if TYPE_CHECKING:
    from windvane.denoiser import Denoiser
    from windvane.samplers import Sampler

_PARALLEL = 1e-4


def slerp(a: Tensor, b: Tensor, u: Tensor | float) -> Tensor:
    """Spherical interpolation from ``a`` (u = 0) to ``b`` (u = 1), on the great circle at constant speed.

        d(u) = [sin((1 - u) w) a/|a| + sin(u w) b/|b|] / sin w,   cos w = a.b / (|a| |b|),
        slerp = ((1 - u) |a| + u |b|) d(u)

    (Shoemake 1985; used between conditions by Self-Guided Diffusion Models, arXiv 2210.06462). Of unit
    vectors every point has unit length. Lengths that differ are interpolated linearly, which is ours.

    Args:
        a, b: float ``(..., K)``.
        u: numbers that broadcast with ``(...)``, or one number.

    Raises:
        ValueError: other shapes, integer ids, a zero vector, or vectors of opposite direction, between which
            there is no shortest way.
    """
    if a.shape != b.shape or not (a.is_floating_point() and b.is_floating_point()) or a.ndim < 1:
        raise ValueError(
            f"slerp needs two float tensors of one shape (..., K), got {a.dtype} {tuple(a.shape)} and "
            f"{b.dtype} {tuple(b.shape)}; ids become vectors by one-hot coding"
        )
    x, y = a.double(), b.double()
    lengths = x.norm(dim=-1, keepdim=True), y.norm(dim=-1, keepdim=True)
    if bool((torch.minimum(*lengths) == 0).any()):
        raise ValueError("slerp has no direction for a zero vector, such as the null condition")
    x, y = x / lengths[0], y / lengths[1]
    # The angle by both chords keeps its digits near 0 and pi, where the cosine loses them.
    omega = 2 * torch.atan2((x - y).norm(dim=-1, keepdim=True), (x + y).norm(dim=-1, keepdim=True))
    if bool((omega > math.pi - _PARALLEL).any()):
        raise ValueError("slerp has no single way between vectors of opposite direction; go by a third one")
    share = torch.as_tensor(u, dtype=torch.float64, device=a.device)[..., None]
    near = omega < _PARALLEL
    sine = torch.where(near, 1.0, omega.sin())
    first = torch.where(near, 1 - share, ((1 - share) * omega).sin() / sine)
    second = torch.where(near, share, (share * omega).sin() / sine)
    return (((1 - share) * lengths[0] + share * lengths[1]) * (first * x + second * y)).to(a.dtype)


def interpolate(a: Tensor | int, b: Tensor | int, n: int, *, k: int | None = None) -> Condition:
    """``n`` conditions from ``a`` to ``b``, both included, at equal angles.

    Args:
        a, b: vectors float ``(K,)``, or ids, which count as one-hot vectors.
        n: at least 2.
        k: the number of ids; needed for ids.

    Returns:
        "vector" float ``(n, K)``.

    Raises:
        ValueError: fewer than two steps, ids without ``k`` or outside 0..k-1, vectors :func:`slerp` refuses.
    """
    if n < 2:
        raise ValueError(f"a path needs at least its two ends, got n={n}")
    first, last = _vector(a, k), _vector(b, k)
    if first.shape != last.shape or first.ndim != 1:
        raise ValueError(f"a path needs two vectors (K,), got {tuple(first.shape)} and {tuple(last.shape)}")
    steps = torch.linspace(0, 1, n, dtype=torch.float64)
    return Condition.vector(slerp(first.expand(n, -1), last.expand(n, -1), steps))


def _vector(end: Tensor | int, k: int | None) -> Tensor:
    if isinstance(end, Tensor) and end.is_floating_point():
        return end
    number = int(end)
    if k is None or not 0 <= number < k:
        raise ValueError(f"id {number} of a path must lie in 0..k-1, got k={k}")
    return torch.nn.functional.one_hot(torch.tensor(number), k).float()


def sample_path(
    denoiser: "Denoiser",
    a: Tensor | int,
    b: Tensor | int,
    n: int,
    *,
    seed: int,
    sampler: "Sampler",
    steps: int = 40,
    k: int | None = None,
    clip: float | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> Tensor:
    """``n`` samples ``(n, *)`` of one seed along :func:`interpolate`: the condition alone changes.

    Args:
        denoiser: guided or not; made for vectors or ids of length K.
        a, b, n, k: see :func:`interpolate`.
        seed: of all samples.
        sampler, steps, clip, batch_size, progress: see :func:`windvane.samplers.sample`.
    """
    from windvane.samplers import sample

    made = sample(
        denoiser,
        seeds=[seed] * n,
        cond=interpolate(a, b, n, k=k),
        sampler=sampler,
        steps=steps,
        clip=clip,
        batch_size=batch_size,
        progress=progress,
    )
    return made.x
