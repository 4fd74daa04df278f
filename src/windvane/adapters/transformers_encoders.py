"""Image encoders of the transformers library: DINOv2, DINOv3, CLIP, SigLIP, ViT, ViT-MAE, I-JEPA, ResNet.

Loading looks at a local folder first, then the local cache of the hub, then the network.
"""

import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from windvane.adapters.hub import load_or_explain, quiet, small_files
from windvane.adapters.missing_weights import refuse_missing
from windvane.adapters.preprocess import Preprocess
from windvane.hub_access import plain_name

Pool = Literal["cls", "mean", "pooler"]

#: Licences of well-known weights, by the beginning of their name; a model's own README is asked first.
LICENCES = {
    "facebook/dinov2": "apache-2.0",
    "facebook/dinov3": "dinov3-license (custom, gated)",
    "facebook/vit-mae": "apache-2.0",
    "google/vit": "apache-2.0",
    "google/siglip": "apache-2.0",
}
_OFFLINE_HELP = (
    "Without a network use the features 'pixels', 'pca' or 'selfsup' (learnt from your own images), the "
    "denoiser's own features, or give the path of a local folder with config.json and weights"
)


class ImageEncoder(nn.Module):
    """A frozen vision model with its preprocessing.

    ``forward(images)`` takes ``(B, C, H, W)`` in [-1, 1] and returns the last hidden state's tokens
    ``(B, L, D)`` and the pooled output ``(B, D')`` or None. Gradients reach the images.

    Attributes:
        preprocess: the differentiable preprocessing.
        licence: the licence of the weights as far as it is known.
        source: the name or folder it was loaded from.
    """

    def __init__(self, model: nn.Module, preprocess: Preprocess, *, source: str, licence: str) -> None:
        super().__init__()
        # CLIP and SigLIP come with a text tower, which has no part in image features.
        self.model = getattr(model, "vision_model", model).eval().requires_grad_(False)
        self.preprocess, self.source, self.licence = preprocess, source, licence
        self._accepts = set(inspect.signature(self.model.forward).parameters)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        pixels = self.preprocess(images)
        named: dict[str, Any] = {"pixel_values": pixels.to(self._dtype())}
        config: Any = self.model.config
        if "interpolate_pos_encoding" in self._accepts and set(pixels.shape[-2:]) != {_side(config)}:
            named["interpolate_pos_encoding"] = True
        if "noise" in self._accepts:
            # A masked autoencoder orders the patches by this noise and keeps the first: keep all, in place.
            patches = (pixels.shape[-2] // config.patch_size) * (pixels.shape[-1] // config.patch_size)
            named["noise"] = torch.arange(patches, device=pixels.device).expand(len(pixels), -1)
        output = self.model(**named)
        tokens = output.last_hidden_state
        if tokens.ndim == 4:
            tokens = tokens.flatten(2).transpose(1, 2)
        pooled = getattr(output, "pooler_output", None)
        return tokens, None if pooled is None else pooled.flatten(1)

    def _dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    def prefix(self, images: Tensor, tokens: Tensor) -> int:
        """How many tokens precede the patches: the CLS token and registers; 0 for convolutional networks."""
        patch = getattr(self.model.config, "patch_size", None)
        if patch is None:
            return 0
        height, width = self.preprocess(images[:1]).shape[-2:]
        rows, columns = (patch, patch) if isinstance(patch, int) else tuple(patch)
        return tokens.shape[1] - (height // rows) * (width // columns)

    def pool(self, images: Tensor, how: Pool) -> Tensor:
        """One vector an image: the CLS token, the mean of the patch tokens, or the model's own pooled output.

        Raises:
            ValueError: this model has no CLS token or no pooled output.
        """
        tokens, pooled = self(images)
        if how == "pooler":
            if pooled is None:
                raise ValueError(f"{self.source} has no pooled output; use pool='cls' or pool='mean'")
            return pooled.float()
        prefix = self.prefix(images, tokens)
        if how == "mean":
            return tokens[:, prefix:].mean(dim=1).float()
        if how != "cls":
            raise ValueError(f"unknown pool {how!r}; known: cls, mean, pooler")
        if prefix < 1:
            raise ValueError(f"{self.source} has no CLS token; use pool='mean' or pool='pooler'")
        return tokens[:, 0].float()


def _side(config: Any) -> int:
    size = getattr(config, "image_size", 224)
    return int(size if isinstance(size, int) else size[0])


def load_encoder(
    name: str | Path,
    *,
    size: int | None = None,
    revision: str | None = None,
    offline: bool | None = None,
    dtype: torch.dtype = torch.float32,
) -> ImageEncoder:
    """Load an image encoder from a local folder, the hub's local cache or the hub, in this order.

    Args:
        name: a folder with ``config.json`` and weights, or "hub:facebook/dinov2-small"; without ``hub:``
            it is looked for on this machine only.
        size: make the short side this long and crop only the excess of the long side; None follows the
            model's ``preprocessor_config.json``.
        revision: branch, tag or commit on the hub.
        offline: True never asks the network, False asks whatever the name is; None asks for names with
            ``hub:``, unless the environment says no (``HF_HUB_OFFLINE``).
        dtype: the type of the weights.

    Raises:
        ValueError: the model is not there, not readable or not whole; the message names the offline choices.
    """
    return load_or_explain(
        name,
        lambda only_local: _load(plain_name(name), size, revision, only_local, dtype),
        what="encoder",
        remedy=_OFFLINE_HELP,
        offline=offline,
    )


def _load(
    name: str, size: int | None, revision: str | None, only_local: bool, dtype: torch.dtype
) -> ImageEncoder:
    from transformers import AutoConfig, AutoModel

    with quiet():
        config = AutoConfig.from_pretrained(name, revision=revision, local_files_only=only_local)
        vision = getattr(config, "vision_config", config)
        for part in (config, vision):
            if hasattr(part, "mask_ratio"):
                part.mask_ratio = 0.0
        model, told = AutoModel.from_pretrained(
            name,
            config=config,
            revision=revision,
            local_files_only=only_local,
            dtype=dtype,
            output_loading_info=True,
        )
    _without_fresh_weights(model, told["missing_keys"])
    folder = small_files(name, revision, only_local)
    preprocess = Preprocess.from_folder(folder, config.model_type, _side(vision))
    if size is not None:
        preprocess = preprocess.with_side(size)
    return ImageEncoder(model, preprocess, source=name, licence=_licence(name, folder))


def _without_fresh_weights(model: Any, missing: Iterable[str]) -> None:
    """Take away a pooler that the files have no weights for, which transformers draws anew at every load.

    Checkpoints of DINO and of classifiers have none. Other parts that are missing would be as random.

    Raises:
        ValueError: the files lack weights of something else than the pooler.
    """
    prefix = "vision_model." if hasattr(model, "vision_model") else ""
    # A text tower has no part in image features, whether it is there or not.
    lost = sorted(key.removeprefix(prefix) for key in missing if key.startswith(prefix))
    refuse_missing(key for key in lost if not key.startswith("pooler."))
    if lost:
        getattr(model, "vision_model", model).pooler = None


def _licence(name: str, folder: Path) -> str:
    card = folder / "README.md"
    if card.is_file():
        found = re.search(
            r"^license(?:_name)?:\s*(\S+)", card.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        if found:
            return found.group(1)
    for start, licence in LICENCES.items():
        if name.startswith(start):
            return licence
    return "unknown: see the model's page"
