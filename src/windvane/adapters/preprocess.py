"""Differentiable preprocessing: what an image processor of transformers does, in tensor operations.

The processors themselves work on 8-bit pictures and stop gradients. Here the images are float tensors, the
resize is torch's antialiased one (the same kernel as Pillow's), and nothing is rounded.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

#: Pillow's numbers for the resampling filters that torch has too.
FILTERS = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
#: Channel statistics of the families whose processors are known, by model type; ImageNet's otherwise.
STATISTICS = {
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "vit": _HALF,
    "siglip": _HALF,
    "siglip_vision_model": _HALF,
}


@dataclass(frozen=True)
class Preprocess:
    """Images ``(B, C, H, W)`` in [-1, 1] to a network's input: resize, centre crop, (v - mean) / std.

    Args:
        resize: the new short side (int, the long side keeps the ratio), or the new (height, width), or None.
        crop: (height, width) of the centre crop; smaller images are padded with zeros (black). None: no crop.
        resample: "bicubic", "bilinear" (both antialiased) or "nearest-exact".
        mean: per channel, for values in [0, scale].
        std: per channel.
        scale: the value of white before mean and std.
        channels: grey images are repeated to this many channels; None leaves them.
        clip: after the resize clip to [0, scale], as 8-bit processors do. The gradient passes straight
            through: guides see predictions that are not clipped yet, and must move what lies outside.
    """

    resize: int | tuple[int, int] | None
    crop: tuple[int, int] | None = None
    resample: str = "bicubic"
    mean: tuple[float, ...] = _HALF[0]
    std: tuple[float, ...] = _HALF[1]
    scale: float = 1.0
    channels: int | None = 3
    clip: bool = True

    def __post_init__(self) -> None:
        if self.resample not in FILTERS.values():
            raise ValueError(f"unknown resample {self.resample!r}; known: {', '.join(FILTERS.values())}")
        if len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise ValueError(
                f"mean and std need one number a channel, std positive; got {self.mean}, {self.std}"
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Network input; differentiable.

        Raises:
            ValueError: images with a number of channels that cannot be brought to ``channels``.
        """
        x = (images + 1) * (self.scale / 2)
        if self.channels is not None and x.shape[1] != self.channels:
            if x.shape[1] != 1:
                raise ValueError(f"needs images with 1 or {self.channels} channels, got {x.shape[1]}")
            x = x.expand(-1, self.channels, -1, -1)
        if self.resize is not None:
            x = self._resized(x, self.resize)
        if self.clip:
            x = _clamped(x, self.scale)
        if self.crop is not None:
            x = _centre_crop(x, self.crop)
        mean, std = (
            torch.tensor(v, dtype=x.dtype, device=x.device).view(-1, 1, 1) for v in (self.mean, self.std)
        )
        return (x - mean) / std

    def _resized(self, x: Tensor, target: int | tuple[int, int]) -> Tensor:
        height, width = x.shape[-2:]
        if isinstance(target, tuple):
            shape = target
        else:
            short = min(height, width)
            # The long side is rounded down, as the processors do.
            shape = (target * height // short, target * width // short)
        if shape == (height, width):
            return x
        if self.resample == "nearest-exact":
            return F.interpolate(x, size=shape, mode=self.resample)
        return F.interpolate(x, size=shape, mode=self.resample, antialias=True, align_corners=False)

    def with_side(self, side: int) -> Self:
        """The same, but the short side becomes ``side`` and only the excess of the long side is cropped."""
        if side < 1:
            raise ValueError(f"the side must be at least 1 pixel, got {side}")
        return replace(self, resize=side, crop=(side, side))

    @classmethod
    def from_folder(cls, folder: str | Path, model_type: str, side: int) -> Self:
        """Read ``preprocessor_config.json`` in a model's folder; without one, the family's defaults.

        Args:
            folder: where the model's files are.
            model_type: the family, as in the model's ``config.json``.
            side: the image side to use where no file says otherwise.
        """
        file = Path(folder) / "preprocessor_config.json"
        if file.is_file():
            return cls.from_settings(json.loads(file.read_text(encoding="utf-8")), side)
        mean, std = STATISTICS.get(model_type, _IMAGENET)
        return cls(resize=side, crop=(side, side), mean=mean, std=std)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], side: int) -> Self:
        """From the settings of an image processor (the content of ``preprocessor_config.json``)."""
        resize: int | tuple[int, int] | None = None
        if settings.get("do_resize", True):
            kind = str(settings.get("image_processor_type", settings.get("feature_extractor_type", "")))
            # In old files a bare number means a square for the ViT family and the short side elsewhere.
            resize = _size(settings.get("size", side), square=kind.startswith(("ViT", "DeiT", "Beit")))
        crop = None
        if settings.get("do_center_crop", False):
            cropped = _size(settings.get("crop_size", side), square=True)
            crop = cropped if isinstance(cropped, tuple) else (cropped, cropped)
        resample = settings.get("resample", 3)
        if resample not in FILTERS:
            raise ValueError(f"resample filter {resample!r} has no counterpart in torch; known: {FILTERS}")
        normalise = settings.get("do_normalize", True)
        factor = settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 1.0
        return cls(
            resize=resize,
            crop=crop,
            resample=FILTERS[resample],
            mean=tuple(settings.get("image_mean", _HALF[0])) if normalise else (0.0,) * 3,
            std=tuple(settings.get("image_std", _HALF[1])) if normalise else (1.0,) * 3,
            scale=255 * factor,
        )


def _clamped(x: Tensor, scale: float) -> Tensor:
    """x in [0, scale], with the gradient of x itself."""
    held = x.clamp(0, scale)
    # The difference is exactly 0; it carries the gradient and changes no number.
    return held.detach() + (x - x.detach()) if x.requires_grad else held


def _size(size: Any, *, square: bool) -> int | tuple[int, int]:
    if isinstance(size, int):
        return (size, size) if square else size
    if isinstance(size, Mapping) and "shortest_edge" in size:
        return int(size["shortest_edge"])
    if isinstance(size, Mapping) and {"height", "width"} <= set(size):
        return int(size["height"]), int(size["width"])
    raise ValueError(
        f"cannot read the image size {size!r}; expected a number, shortest_edge, or height and width"
    )


def _centre_crop(x: Tensor, shape: tuple[int, int]) -> Tensor:
    lacking = [max(0, want - have) for want, have in zip(shape, x.shape[-2:])]
    if any(lacking):
        # The odd pixel of the border goes before the image, as in the processors.
        before = [(n + 1) // 2 for n in lacking]
        x = F.pad(x, (before[1], lacking[1] - before[1], before[0], lacking[0] - before[0]))
    top, left = ((have - want) // 2 for have, want in zip(x.shape[-2:], shape))
    return x[..., top : top + shape[0], left : left + shape[1]]
