"""A conditional diffusion transformer around diffusers' ``DiTTransformer2DModel``."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from windvane.networks.attention import install_token_attention
from windvane.networks.base import Network
from windvane.networks.conditioning import (
    ConditionInput,
    Embedding,
    check_input_channels,
    input_channels,
    signal_sizes,
)
from windvane.networks.diffusers_class import diffusers_class
from windvane.networks.diffusers_config import model_config


class GivenEmbedding(nn.Module):
    """In the place of a DiT block's label table: hands on the embedding it is given, and drops nothing.

    The unused table stays, frozen, so that the weights keep the names and shapes that diffusers opens.
    """

    def __init__(self, embedding_table: nn.Embedding) -> None:
        super().__init__()
        self.embedding_table = embedding_table
        self.embedding_table.weight.requires_grad_(False)

    def forward(self, labels: Tensor) -> Tensor:
        return labels


class ConditionedDiT(Network):
    """A ``DiTTransformer2DModel`` with a vector, a layout, tokens and other signals as conditions.

    The model's own label tables, which take ids only and drop some of them at random in training mode, are
    bypassed: the vector's embedding, with the fixed zero vector as the null, is added to each block's time
    embedding, from which come the shifts, scales and gates of the block (adaLN-Zero, Peebles and Xie 2023)
    and of the output layer. A layout is concatenated to the input; tokens are extra keys and values in every
    block.

    Args:
        transformer: a ``DiTTransformer2DModel``; ``in_channels`` as for :class:`ConditionedUNet`.
        vector: K, the number of classes or the length of the vector.
        layout: C, the channels of the map.
        tokens: the width of tokens.
        signals: other signals by name, see :class:`~windvane.networks.ConditionInput`.
    """

    kind: ClassVar[str] = "conditioned_dit"
    diffusers_part: ClassVar[str | None] = "transformer"
    transformer: Any

    def __init__(
        self,
        transformer: Any,
        *,
        vector: int | None = None,
        layout: int | None = None,
        tokens: int | None = None,
        signals: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        sizes = signal_sizes(signals, vector=vector, layout=layout, tokens=tokens)
        check_input_channels(transformer.config.in_channels, transformer.out_channels, sizes)
        self.transformer = transformer
        self.width: int = transformer.inner_dim
        for block in transformer.transformer_blocks:
            block.norm1.emb.class_embedder = GivenEmbedding(block.norm1.emb.class_embedder.embedding_table)
        self.conditions = ConditionInput(self.width, sizes)
        tokens = sizes.get("tokens")
        self.token_layers = None if tokens is None else install_token_attention(transformer, tokens)

    @classmethod
    def build(
        cls,
        *,
        shape: Sequence[int],
        vector: int | None = None,
        layout: int | None = None,
        tokens: int | None = None,
        signals: Mapping[str, Any] | None = None,
        patch: int = 2,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        dropout: float = 0.0,
    ) -> "ConditionedDiT":
        """A DiT for square images ``(C, S, S)``, S divisible by ``patch``; by default a DiT-S/2."""
        DiTTransformer2DModel = diffusers_class("DiTTransformer2DModel")

        if len(shape) != 3 or shape[1] != shape[2] or shape[1] % patch:
            raise ValueError(
                f"a DiT with patch={patch} needs square images (C, S, S) with S divisible by {patch}, "
                f"got {tuple(shape)}"
            )
        if width % heads or width % 4:
            raise ValueError(
                f"the width must be divisible by the heads and by 4, got width={width}, heads={heads}"
            )
        sizes = signal_sizes(signals, vector=vector, layout=layout, tokens=tokens)
        transformer = DiTTransformer2DModel(
            num_attention_heads=heads,
            attention_head_dim=width // heads,
            in_channels=shape[0] + input_channels(sizes),
            out_channels=shape[0],
            num_layers=depth,
            dropout=dropout,
            sample_size=shape[1],
            patch_size=patch,
            num_embeds_ada_norm=1,
        )
        _start_at_zero(transformer)
        return cls(transformer, signals=sizes)

    @property
    def config(self) -> dict[str, Any]:
        signals = self.conditions.config("vector", "layout", "tokens")
        return {"transformer": model_config(self.transformer), **signals}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ConditionedDiT":
        DiTTransformer2DModel = diffusers_class("DiTTransformer2DModel")

        transformer = DiTTransformer2DModel.from_config(config["transformer"])
        named = {name: config[name] for name in ("vector", "layout", "tokens")}
        return cls(transformer, **named, signals=config.get("signals"))

    def layers(self) -> dict[str, nn.Module]:
        """``block.i``; the features are maps of patches ``(B, width, S / patch, S / patch)``."""
        return {f"block.{i}": block for i, block in enumerate(self.transformer.transformer_blocks)}

    def feature_map(self, output: Any) -> Tensor:
        side = round(output.shape[1] ** 0.5)
        return output.transpose(1, 2).unflatten(2, (side, side))

    def set_gradient_checkpointing(self, enabled: bool = True) -> None:
        if enabled:
            self.transformer.enable_gradient_checkpointing()
        else:
            self.transformer.disable_gradient_checkpointing()

    def run(self, x: Tensor, time: Tensor, embedding: Embedding) -> Tensor:
        added = embedding.add
        if added is None:
            added = torch.zeros(len(x), self.width, device=x.device, dtype=x.dtype)
        x = embedding.with_maps(x)
        # As an argument, not through the context: checkpointed blocks are recomputed in the backward pass.
        tokens = self.conditions.timed_tokens(embedding, time)
        extra = None if tokens is None else {"tokens": tokens}
        return self.transformer(
            x, timestep=time, class_labels=added, cross_attention_kwargs=extra, return_dict=False
        )[0]


def _start_at_zero(transformer: Any) -> None:
    # The "Zero" of adaLN-Zero: every gate and the output begin at zero. diffusers leaves torch's defaults,
    # which suits loading trained weights only.
    layers = [block.norm1.linear for block in transformer.transformer_blocks]
    for layer in [*layers, transformer.proj_out_1, transformer.proj_out_2]:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
