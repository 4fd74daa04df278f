"""Features of a pretrained encoder from the hub or a local folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from windvane.annotate.features.extractor import beside, version
from windvane.arguments import attributes
from windvane.hub_access import short_name

if TYPE_CHECKING:
    from windvane.adapters.transformers_encoders import ImageEncoder


class HubModel:
    """What extractors of a pretrained model share: a version, a width, a licence.

    Attributes:
        encoder: the model with its preprocessing.
    """

    encoder: "ImageEncoder"
    _name: str
    _dim: int

    @property
    def name(self) -> str:
        """The version of these features: settings, preprocessing and a hash of the weights."""
        return self._name

    @property
    def dim(self) -> int:
        """The number of features."""
        return self._dim

    @property
    def licence(self) -> str:
        """The licence of the weights, as far as it is known."""
        return self.encoder.licence

    def to(self, device: str | torch.device) -> Self:
        """Move the encoder."""
        self.encoder.to(device)
        return self


class HubEncoder(HubModel):
    """Features of any vision encoder that transformers can load; DINOv2 small by default.

    Self-Guided Diffusion Models (2210.06462, section 3) use the CLS token of DINO and MSN vision
    transformers with the short side resized to 224, which is ``size=224``. By default the model's own
    preprocessing is followed, which may also crop the border. Gradients reach the images.

    Args:
        model: a name of the hub ("hub:facebook/dinov2-small", "hub:openai/clip-vit-base-patch32",
            "hub:facebook/vit-mae-base", ...) or a local folder.
        pool: "cls", "mean" (of the patch tokens) or "pooler" (the model's own pooled output).
        size: side of the square given to the model; None follows its preprocessor_config.json.
        revision: branch, tag or commit on the hub.
        offline: never ask the network; None asks the environment (HF_HUB_OFFLINE).
        dtype: the type of the weights.

    Raises:
        ValueError: the model cannot be loaded (the message names the offline choices), or has no such pool.
    """

    kind = "encoder"

    def __init__(
        self,
        model: str | Path = "hub:facebook/dinov2-small",
        *,
        pool: str = "cls",
        size: int | None = None,
        revision: str | None = None,
        offline: bool | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        from windvane.adapters.transformers_encoders import load_encoder

        self.encoder = load_encoder(model, size=size, revision=revision, offline=offline, dtype=dtype)
        self.model, self.pool, self.size, self.revision, self.dtype = str(model), pool, size, revision, dtype
        with torch.no_grad():
            self._dim = self(torch.zeros(1, 3, 32, 32)).shape[1]
        settings = {
            "model": short_name(model),
            "pool": pool,
            "preprocess": self.encoder.preprocess,
            "dtype": str(dtype).removeprefix("torch."),
        }
        self._name = version(self.kind, settings, self.encoder.model.state_dict())

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, dim)`` of images ``(B, 1 or 3, H, W)`` in [-1, 1]; differentiable."""
        return self.encoder.pool(beside(images, self.encoder), self.pool)  # type: ignore[arg-type]

    def settings(self) -> dict[str, Any]:
        """What loads this encoder again."""
        return {
            **attributes(self, "model", "pool", "size", "revision"),
            "dtype": str(self.dtype).removeprefix("torch."),
        }
