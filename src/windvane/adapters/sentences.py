"""Sentence encoders of the transformers library: any text as one vector."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from windvane.adapters.hub import load_from_hub
from windvane.adapters.missing_weights import refuse_missing
from windvane.hub_access import plain_name
from windvane.randomness import scoped_seed

_AT_ONCE, _REMEMBERED, _LONGEST = 64, 50_000, 512


class SentenceEncoder(nn.Module):
    """A frozen text model, ``["a bold seven"] -> (S, H)``; made by :func:`load_sentence_encoder`.

    With the last hidden states h_i and the attention mask m_i of a sentence, its embedding is

        e = u / ||u||,  u = sum_i m_i h_i / sum_i m_i,

    whatever pooling a model itself prefers (Sentence-BERT, Reimers and Gurevych, arXiv 1908.10084, section 3:
    the MEAN strategy, its default). Embeddings are float32, without gradients, and remembered, for training
    asks for the same sentences again and again.

    Attributes:
        source: the name on the hub, or the folder, it was loaded from.
        revision: the commit on the hub, None for folders.
    """

    def __init__(self, model: Any, tokenizer: Any, *, source: str, revision: str | None = None) -> None:
        super().__init__()
        config = model.config
        if config.is_encoder_decoder or hasattr(config, "vision_config") or tokenizer.pad_token is None:
            raise ValueError(
                f"{source} is a {config.model_type}, which is no sentence encoder: one like BERT, with "
                "hidden states of the sentence alone and a padding token, is looked for"
            )
        self.model = model.eval().requires_grad_(False)
        self.tokenizer, self.source, self.revision = tokenizer, source, revision
        self._known: dict[str, Tensor] = {}

    @property
    def size(self) -> int:
        """H, the numbers an embedding."""
        return int(self.model.config.hidden_size)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of weights and vocabulary: is this the model that something was trained with?"""
        digest = hashlib.sha256()
        for key, value in sorted(self.model.state_dict().items()):
            # The pooler is not used, and where a checkpoint has none it is drawn at every loading.
            if not key.startswith("pooler."):
                digest.update(key.encode())
                digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        digest.update(repr(sorted(self.tokenizer.get_vocab().items())).encode())
        return digest.hexdigest()[:16]

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Embeddings ``(S, H)`` of length 1; texts that are too long for the model are cut.

        Raises:
            ValueError: no text, or an empty one.
        """
        wanted = [texts] if isinstance(texts, str) else list(texts)
        if not wanted or any(not text.strip() for text in wanted):
            raise ValueError(f"a sentence encoder needs sentences, got {wanted}")
        new = [text for text in dict.fromkeys(wanted) if text not in self._known]
        for start in range(0, len(new), _AT_ONCE):
            part = new[start : start + _AT_ONCE]
            self._known.update(zip(part, self._embed(part).cpu(), strict=True))
        found = torch.stack([self._known[text] for text in wanted])
        if len(self._known) > _REMEMBERED:
            self._known.clear()
        return found.to(self._device())

    def _embed(self, texts: list[str]) -> Tensor:
        positions = getattr(self.model.config, "max_position_embeddings", _LONGEST)
        longest = min(self.tokenizer.model_max_length, positions, _LONGEST)
        tokens = self.tokenizer(
            texts, padding=True, truncation=True, max_length=longest, return_tensors="pt"
        ).to(self._device())
        with torch.no_grad():
            hidden = self.model(**tokens).last_hidden_state.float()
        mask = tokens["attention_mask"][..., None].to(hidden)
        return F.normalize((mask * hidden).sum(1) / mask.sum(1).clamp(min=1), dim=1)

    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def load_sentence_encoder(
    name: str | Path, *, revision: str | None = None, offline: bool | None = None
) -> SentenceEncoder:
    """Load a text model from a local folder, the hub's local cache or the hub, in this order.

    Args:
        name: a folder with weights and tokenizer, or "hub:sentence-transformers/all-MiniLM-L6-v2".
        revision: branch, tag or commit on the hub.
        offline: never ask the network; None asks the environment (``HF_HUB_OFFLINE``).

    Raises:
        ValueError: transformers is not installed; not there or not in the cache; not readable; another kind
            of model. The message has the reason.
    """

    local = Path(name).is_dir()

    def load(only_local: bool, folder: Path) -> SentenceEncoder:
        from transformers import AutoModel, AutoTokenizer

        # By its folder: a name is asked for on the network, for adapters, even where only files may be used.
        where = str(folder if only_local else plain_name(name))
        asked = None if only_local else revision
        # What a checkpoint lacks is drawn, which must not move the caller's random numbers.
        with scoped_seed(0):
            model, told = AutoModel.from_pretrained(
                where, revision=asked, local_files_only=only_local, dtype=torch.float32,
                output_loading_info=True,
            )  # fmt: skip
        refuse_missing(key for key in told["missing_keys"] if not key.startswith("pooler."))
        tokenizer = AutoTokenizer.from_pretrained(where, revision=asked, local_files_only=only_local)
        if local:
            return SentenceEncoder(model, tokenizer, source=str(folder.resolve()))
        # The hub's cache names the folder of a snapshot by its commit.
        return SentenceEncoder(model, tokenizer, source=str(name), revision=folder.name)

    return load_from_hub(name, load, what="sentence encoder", revision=revision, offline=offline)
