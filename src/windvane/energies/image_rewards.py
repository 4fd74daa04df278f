"""Rewards of images that need no model: a first thing to search for, and an example to write one's own by."""

from collections.abc import Callable

from torch import Tensor

from windvane.energies.reward import Reward


def brightness(images: Tensor) -> Tensor:
    """The mean value of each image ``(B, C, H, W)``."""
    return images.flatten(1).mean(1)


def darkness(images: Tensor) -> Tensor:
    """Minus the mean value."""
    return -brightness(images)


def contrast(images: Tensor) -> Tensor:
    """The standard deviation of each image's values."""
    return images.flatten(1).std(1)


def smoothness(images: Tensor) -> Tensor:
    """Minus the mean absolute difference of neighbouring pixels."""
    across = images.diff(dim=-1).abs().flatten(1).mean(1)
    return -(across + images.diff(dim=-2).abs().flatten(1).mean(1))


BUILTIN: dict[str, Callable[[Tensor], Tensor]] = {
    reward.__name__: reward for reward in (brightness, darkness, contrast, smoothness)
}


def image_reward(name: str) -> Reward:
    """One of them as an energy.

    Raises:
        ValueError: an unknown name.
    """
    if name not in BUILTIN:
        raise ValueError(f"unknown reward {name!r}; known: {', '.join(BUILTIN)}")
    return Reward(BUILTIN[name], name=name)
