"""Self-attention with tokens as extra keys and values, for the attention layers of diffusers."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from windvane.networks.tokens import Tokens

# UNet2DModel has no way to hand tokens down to its attention layers. A context variable is private to each
# thread and each task and is put back by the caller, so nothing outlives a call or reaches another one.
_tokens: ContextVar[Tokens | None] = ContextVar("windvane_tokens", default=None)


@contextmanager
def attend_to(tokens: Tokens | None) -> Iterator[None]:
    """Let the token attention layers called inside the block see ``tokens``."""
    token = _tokens.set(tokens)
    try:
        yield
    finally:
        _tokens.reset(token)


class TokenProjection(nn.Module):
    """Keys and values of tokens for one attention layer."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.key = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)


class TokenAttention:
    """An attention processor: softmax(Q [K, K_tokens]^T / sqrt(d)) [V, V_tokens], else as diffusers' own.

    Not a module, so that the weights stay out of the diffusers model and its folder remains one that
    diffusers opens; the wrapper owns the projections.
    """

    def __init__(self, projection: TokenProjection) -> None:
        self.projection = projection

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        tokens: Tokens | None = None,
    ) -> Tensor:
        tokens = _tokens.get() if tokens is None else tokens
        if encoder_hidden_states is not None or attention_mask is not None:
            raise ValueError("token attention works in plain self-attention layers, without a mask")
        x = hidden_states
        if attn.spatial_norm is not None:
            x = attn.spatial_norm(x, temb)
        if hidden_states.ndim == 4:
            x = x.flatten(2).transpose(1, 2)
        if attn.group_norm is not None:
            x = attn.group_norm(x.transpose(1, 2)).transpose(1, 2)
        query, key, value = attn.to_q(x), attn.to_k(x), attn.to_v(x)
        mask = None
        if tokens is not None:
            key = torch.cat([key, self.projection.key(tokens.values).to(key.dtype)], dim=1)
            value = torch.cat([value, self.projection.value(tokens.values).to(value.dtype)], dim=1)
            mask = _mask(tokens, x.shape[1])
        query, key, value = (_heads(part, attn.heads) for part in (query, key, value))
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out = attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2)))
        if hidden_states.ndim == 4:
            out = out.transpose(1, 2).reshape(hidden_states.shape)
        if attn.residual_connection:
            out = out + hidden_states
        return out / attn.rescale_output_factor


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _mask(tokens: Tokens, positions: int) -> Tensor | None:
    if tokens.valid is None:
        return None
    own = tokens.valid.new_ones(len(tokens.valid), positions)
    return torch.cat([own, tokens.valid], dim=1)[:, None, None, :]


def install_token_attention(model: Any, width: int) -> nn.ModuleDict:
    """Give every attention layer of a diffusers model tokens; returns the projections, by layer."""
    from diffusers.models.attention_processor import Attention

    projections = nn.ModuleDict()
    for name, layer in model.named_modules():
        if isinstance(layer, Attention):
            projection = TokenProjection(width, layer.inner_dim)
            layer.set_processor(cast(Any, TokenAttention(projection)))
            projections[name.replace(".", "-")] = projection
    if not projections:
        raise ValueError("the network has no attention layer that could use tokens; give it attention levels")
    return projections
