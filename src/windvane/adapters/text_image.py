"""CLIP and SigLIP of the transformers library: texts and pictures in one space, with gradients to pixels."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from windvane.adapters.hub import load_from_hub
from windvane.adapters.missing_weights import refuse_missing
from windvane.adapters.preprocess import Preprocess
from windvane.energies import FeatureMatch, ImageSimilarity, TextSimilarity
from windvane.hub_access import plain_name

#: The families, and how many tokens their texts are padded to; None: as long as the longest.
FAMILIES: dict[str, int | None] = {"clip": None, "siglip": 64, "siglip2": 64}


class ImageSide(nn.Module):
    """The image side of a :class:`TextImage` as a module, pictures ``(B, C, H, W)`` to embeddings ``(B, D)``.

    For ``noise_aware`` of :mod:`windvane.training`, and for ``align`` as the teacher. It clips no pixels:
    a noisy state is looked at as it is, as SDG does (2112.05744).
    """

    def __init__(self, vision: nn.Module, projection: nn.Module | None, preprocess: Preprocess) -> None:
        super().__init__()
        self.vision, self.projection = vision, projection
        self.preprocess = replace(preprocess, clip=False)

    def forward(self, x: Tensor) -> Tensor:
        parameter = next(self.vision.parameters())
        pooled = self.vision(pixel_values=self.preprocess(x).to(parameter.dtype)).pooler_output
        return (pooled if self.projection is None else self.projection(pooled)).to(x.dtype)


class TextImage(nn.Module):
    """A frozen CLIP or SigLIP; made by :func:`load_text_image`.

    ``image(x)`` takes pictures ``(B, C, H, W)`` in [-1, 1] and gives embeddings ``(B, D)``; gradients reach
    the pictures, through a differentiable resize, crop and normalisation. ``text(sentences)`` gives
    ``(n, D)`` in the same space. Neither is normalised: energies compare by cosine. The three energies below
    are shorthands; give ``image``, ``maps`` and ``text`` to those of :mod:`windvane.energies` for more.

    Attributes:
        preprocess: what is done to pictures, see :class:`~windvane.adapters.preprocess.Preprocess`.
        source: the name or folder it was loaded from.
    """

    def __init__(self, model: Any, tokenizer: Any, preprocess: Preprocess, *, source: str) -> None:
        super().__init__()
        family = str(model.config.model_type)
        if family not in FAMILIES:
            raise ValueError(
                f"{source} is a {family}; texts and pictures in one space come from {', '.join(FAMILIES)}"
            )
        self.model = model.eval().requires_grad_(False)
        self.tokenizer, self.preprocess, self.source = tokenizer, preprocess, source
        self._length = FAMILIES[family]

    def _seen(self, x: Tensor) -> Any:
        parameter = next(self.model.parameters())
        return self.model.vision_model(pixel_values=self.preprocess(x).to(parameter.dtype))

    def image(self, x: Tensor) -> Tensor:
        """Embeddings ``(B, D)`` of pictures."""
        pooled = self._seen(x).pooler_output
        projection = getattr(self.model, "visual_projection", None)
        return (pooled if projection is None else projection(pooled)).to(x.dtype)

    @property
    def image_side(self) -> ImageSide:
        """The image side alone, of the same weights: to be made noise-aware."""
        return ImageSide(
            self.model.vision_model, getattr(self.model, "visual_projection", None), self.preprocess
        )

    def maps(self, x: Tensor) -> Tensor:
        """The last layer's patches in place, ``(B, D, h, w)``, for energies that keep the layout."""
        tokens = self._seen(x).last_hidden_state
        height, width = self.preprocess(x[:1]).shape[-2:]
        patch = self.model.config.vision_config.patch_size
        rows, columns = height // patch, width // patch
        patches = tokens[:, tokens.shape[1] - rows * columns :]
        return patches.transpose(1, 2).unflatten(2, (rows, columns)).to(x.dtype)

    def text(self, sentences: Sequence[str]) -> Tensor:
        """Embeddings ``(n, D)`` of sentences, float32, without gradients; too long ones are cut.

        Raises:
            ValueError: nothing to embed.
        """
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        if not texts:
            raise ValueError("text() needs at least one sentence")
        most = int(self.model.config.text_config.max_position_embeddings)
        length = most if self._length is None else min(self._length, most)
        tokens = self.tokenizer(
            texts,
            padding=True if self._length is None else "max_length",
            truncation=True,
            max_length=length,
            return_tensors="pt",
        )
        device = next(self.model.parameters()).device
        named = {"input_ids": tokens["input_ids"].to(device)}
        if self._length is None:
            # CLIP is told which tokens are padding; SigLIP was trained to see its own padding.
            named["attention_mask"] = tokens["attention_mask"].to(device)
        with torch.no_grad():
            pooled = self.model.text_model(**named).pooler_output
            projection = getattr(self.model, "text_projection", None)
            return (pooled if projection is None else projection(pooled)).float()

    def text_similarity(self, text: str | list[str]) -> TextSimilarity:
        """cos(image(x), text): one sentence for all samples, or one for each."""
        return TextSimilarity.of(self.image, self.text, text)

    def image_similarity(self, reference: Tensor) -> ImageSimilarity:
        """cos(image(x), image(reference)), whatever the layout."""
        return ImageSimilarity(self.image, reference)

    def feature_match(self, reference: Tensor) -> FeatureMatch:
        """Minus the squared distance of the patches in place: the layout is kept."""
        return FeatureMatch(self.maps, reference)


def load_text_image(
    name: str | Path,
    *,
    revision: str | None = None,
    offline: bool | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> TextImage:
    """Load a CLIP or SigLIP from a local folder, the hub's local cache or the hub, in this order.

    Args:
        name: a folder with weights and tokenizer, or a name such as "hub:openai/clip-vit-base-patch32".
        revision: branch, tag or commit on the hub.
        offline: never ask the network; None asks the environment (``HF_HUB_OFFLINE``).
        dtype: of the weights.
        device: of the model; a guide belongs where the denoiser is.

    Raises:
        ValueError: not there, not readable, or another kind of model; the message names offline choices.
    """

    def load(only_local: bool, folder: Path) -> TextImage:
        from transformers import AutoModel, AutoTokenizer

        # By its folder: a name is asked for on the network, for adapters, even where only files may be used.
        where, asked = (folder, None) if only_local else (plain_name(name), revision)
        model, told = AutoModel.from_pretrained(
            str(where), revision=asked, local_files_only=only_local, dtype=dtype, output_loading_info=True
        )
        refuse_missing(told["missing_keys"])
        tokenizer = AutoTokenizer.from_pretrained(str(where), revision=asked, local_files_only=only_local)
        vision = getattr(model.config, "vision_config", model.config)
        family = model.config.model_type
        preprocess = Preprocess.from_folder(folder, family, int(getattr(vision, "image_size", 224)))
        return TextImage(model, tokenizer, preprocess, source=str(name))

    return load_from_hub(name, load, what="text-image model", revision=revision, offline=offline).to(device)
